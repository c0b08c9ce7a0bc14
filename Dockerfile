# Two stages: wheels are built and installed from hashes in the first, the second holds nothing but what runs.
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements/core.lock ./
RUN python -m venv /opt/guardproxy \
 && /opt/guardproxy/bin/pip install --no-cache-dir --require-hashes --no-deps -r core.lock
COPY pyproject.toml README.md LICENSE ./
COPY guardproxy ./guardproxy
COPY rules ./rules
RUN /opt/guardproxy/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
 && /opt/guardproxy/bin/pip uninstall -y hatchling editables pip

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home guardproxy \
 && install -d -o guardproxy -g guardproxy /data
COPY --from=build /opt/guardproxy /opt/guardproxy
ENV PATH=/opt/guardproxy/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    GUARDPROXY_STORE=sqlite:////data/guardproxy.db GUARDPROXY_LISTEN=0.0.0.0:8080
# Holds live on a volume; everything else is read-only (docker run --read-only works).
VOLUME /data
WORKDIR /data
USER 10001
EXPOSE 8080
ENTRYPOINT ["guardproxy"]
CMD ["serve", "--config", "/etc/guardproxy/guardproxy.yaml"]
