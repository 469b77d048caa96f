"""Devices: batches split over several devices, runs of several processes, data in device memory."""
