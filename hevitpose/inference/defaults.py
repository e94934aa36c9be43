"""What ``hevitpose predict`` and ``export`` do unless told otherwise. Loads nothing heavy."""

#: What finds people where neither boxes nor a detector are given.
DETECTOR = "hog"
#: A detector's boxes that are scored lower are dropped.
BOX_THRESHOLD = 0.5
#: Joints that are scored lower are not drawn.
MIN_SCORE = 0.2
#: Points, 0..100, that a file in lower precision may lose against float32 of the same weights.
MOST_LOST = 0.5
