# For lint.mjs: what its linters must see.
FRMO golang
FROM debian:latest
RUN apt-get install curl
EXPOSE eighty
