"""Detailed figures: people with faces, hands and clothes, who turn, before rooms and streets, by a moving camera.

A body (`bodies`) takes postures (`postures`) from a motion (`motions`, `recorded`); a camera (`cameras`) projects its
joints; `figure` and `heads` draw it from spheres, cones and ellipsoids with a depth buffer (`surfaces`) over a
background (`backgrounds`); `skeletons` says what an estimator would find. `clips` puts a clip together.

World coordinates are in heights of an adult, x to the right, y up and z to the viewer, the floor at y = 0. A body's
own axes are its left, up and its front. Pictures have x to the right and y down, in pixels.
"""
