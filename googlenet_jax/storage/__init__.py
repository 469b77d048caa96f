"""Object storage: `s3://` and `gs://` URLs, staged in a local folder and mirrored back."""
