# The service with the model that ships. Build: docker build -t dermlens . Run: docker compose up
FROM python:3.13-slim AS build
WORKDIR /build
COPY requirements/serve.txt requirements/serve.txt
RUN python -m venv /opt/dermlens && /opt/dermlens/bin/pip install --no-cache-dir -r requirements/serve.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/dermlens/bin/pip install --no-cache-dir --no-deps .

FROM python:3.13-slim
RUN useradd --system --no-create-home --uid 10001 dermlens
COPY --from=build /opt/dermlens /opt/dermlens
ENV PATH=/opt/dermlens/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 ORT_DISABLE_TELEMETRY=1
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
ENTRYPOINT ["dermlens"]
# another name than localhost: docker run dermlens serve --host 0.0.0.0 --port 8000 --allow-host NAME
CMD ["serve", "--host", "0.0.0.0", "--port", "8000", "--allow-host", "localhost"]
