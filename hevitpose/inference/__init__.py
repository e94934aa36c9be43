"""From photographs to keypoints: the predictor, its pictures, exported networks."""
