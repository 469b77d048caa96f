"""Devices: batches split over all of them, runs of several processes, data in device memory."""
