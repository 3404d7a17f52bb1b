"""Networks that judge: trained here on real recordings, or public ones by their published weights."""
