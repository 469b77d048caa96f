# An image of this package with its experiments, for `googlenet sweep --on=kubernetes`:
#   docker build --tag=googlenet_jax --build-arg=EXTRAS=cuda .
# EXTRAS: extras of setup.cfg, separated by commas, such as tpu or cuda,wandb; none by default.
FROM python:3.11-slim

WORKDIR /googlenet_jax
COPY requirements.txt setup.cfg pyproject.toml README.md LICENSE ./
RUN python -m pip install --no-cache-dir --disable-pip-version-check -r requirements.txt

ARG EXTRAS=
COPY googlenet_jax googlenet_jax
COPY experiments experiments
RUN python -m pip install --no-cache-dir --disable-pip-version-check --constraint requirements.txt ".${EXTRAS:+[$EXTRAS]}"

ENTRYPOINT ["python", "-m", "googlenet_jax"]
