"""Object storage: `s3://` and `gs://` places, staged in a local folder and mirrored back."""
