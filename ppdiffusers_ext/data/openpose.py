"""The skeleton of OpenPose (COCO): 18 keypoints of a body, the limbs between them, and the colours of both.

From Cao et al. 2017, arXiv:1611.08050; CMU-Perceptual-Computing-Lab/openpose.
"""

import colorsys

# "r" is the person's right, which a viewer sees on the left.
KEYPOINTS = tuple(
    "nose neck r_shoulder r_elbow r_wrist l_shoulder l_elbow l_wrist "
    "r_hip r_knee r_ankle l_hip l_knee l_ankle r_eye l_eye r_ear l_ear".split()
)
LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10)),
    *((1, 11), (11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),
)
# 18 hues around the circle: limb i and keypoint i have colour i, limbs are darker.
PALETTE = tuple(tuple(round(255 * c) for c in colorsys.hsv_to_rgb(i / 18, 1, 1)) for i in range(18))
LIMB_BRIGHTNESS = 0.6
