# docker build -t plastimap .        docker run --rm -v DATA:/data -v OUT:/out plastimap run /data /out group
FROM python:3.11-slim

# Every package by version and checksum; nothing else is installed from the network.
COPY requirements.lock /opt/plastimap/requirements.lock
RUN python -m pip install --no-cache-dir --require-hashes --requirement /opt/plastimap/requirements.lock

# Kernels are compiled here, once; who cannot write here begins with a copy of them.
ENV NUMBA_CACHE_DIR=/opt/plastimap-kernels
COPY . /opt/plastimap
RUN mkdir --mode=0755 "$NUMBA_CACHE_DIR" \
    && python -m pip install --no-cache-dir --no-deps --no-build-isolation --no-index /opt/plastimap \
    && python -m compileall -q -j 0 "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/plastimap" \
    && python -m plastimap.warm \
    && chmod -R a+rX "$NUMBA_CACHE_DIR" \
    && rm -rf /opt/plastimap

# A user whom the image does not know has no home; programs keep their caches in it.
ENV HOME=/tmp
# Results belong to whoever starts the container: docker run --user "$(id -u):$(id -g)".
WORKDIR /out
ENTRYPOINT ["plastimap"]
CMD ["--help"]
