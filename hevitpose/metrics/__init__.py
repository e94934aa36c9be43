"""Metrics, each as its reference code computes it: PCKh, OKS and AP, CrowdPose."""
