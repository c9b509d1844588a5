"""Estimation of people with the networks that ship with the package: MediaPipe's, without MediaPipe."""
