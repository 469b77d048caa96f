"""The devices: batches over all of them, several processes as one run, data in their memory."""
