# docker build -t plastimap .        docker run --rm -v DATA:/data -v OUT:/out plastimap run /data /out group
FROM python:3.11-slim

# Every package by version and checksum; nothing else is installed from the network.
COPY requirements.lock /opt/plastimap/requirements.lock
RUN python -m pip install --no-cache-dir --require-hashes --requirement /opt/plastimap/requirements.lock

COPY . /opt/plastimap
RUN python -m pip install --no-cache-dir --no-deps --no-build-isolation --no-index /opt/plastimap \
    && python -m compileall -q -j 0 "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/plastimap" \
    && python -m plastimap.warm \
    && rm -rf /opt/plastimap

# Results belong to whoever starts the container: docker run --user "$(id -u):$(id -g)".
WORKDIR /out
ENTRYPOINT ["plastimap"]
CMD ["--help"]
