"""Inputs for the pipeline's scripts: an image, the commit that it was built from, and the target's names."""

CLOUDS = ["cloud-run", "ecs", "kubernetes"]
TARGETS = [*CLOUDS, "pull"]
IMAGE = "ghcr.io/acme/agent"
DIGEST = f"sha256:{'ab' * 32}"
BUILT = f"{IMAGE}@{DIGEST}"
SERVERS = f"{IMAGE}-servers@{DIGEST}"
PLACE = {
    "PROJECT": "acme",
    "REGION": "europe-west1",
    "AWS_REGION": "eu-central-1",
    "URL": "https://support.acme.example",
}
COMMIT = {
    "GITHUB_SHA": "c0ffee",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "Acme/Agent",
    "GITHUB_ACTOR": "somebody",
    "GITHUB_TOKEN": "ghs-secret",
}


LOGIN = ["docker", "login", "ghcr.io", "--username", "somebody", "--password-stdin"]
