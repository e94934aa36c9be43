"""What ``hevitpose predict`` does unless it is told otherwise. Loads nothing heavy."""

#: What finds people where neither boxes nor a detector are given.
DETECTOR = "hog"
#: A detector's boxes that are scored lower are dropped.
BOX_THRESHOLD = 0.5
#: Joints that are scored lower are not drawn.
MIN_SCORE = 0.2
