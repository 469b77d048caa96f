"""What networks cost, compared with the figures that papers print, without running a network."""
