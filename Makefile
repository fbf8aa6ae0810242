# Every target is a script that also runs by itself; see scripts/ and bench/.
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/invoice-platform/target
ARGS ?=

.PHONY: demo test questions kubernetes dist bench lint faults deny book up down

# The batch path from mock data to published partitions, in ./demo.
demo:
	scripts/demo.sh $(ARGS)

# Everything CI runs: lint, builds, unit tests, end-to-end tests on real services.
test:
	scripts/setup.sh test
	scripts/test.sh

# Generated questions to query_lake and DuckDB, on the binaries `make test` built: ARGS="--minutes 60 --seed 7".
questions:
	scripts/setup.sh test
	scripts/test.sh questions $(ARGS)

# The chart on a Kubernetes of one node with real pods, on the binaries `make test` built. Its programs are built from
# their Go modules the first time, for about ten minutes.
kubernetes:
	scripts/setup.sh kubernetes
	scripts/test.sh kubernetes

# What is installed without a compiler, in ./dist: a wheel and a tarball, with licences and a bill of materials.
dist:
	scripts/dist.sh $(ARGS)

# The project against its peers, for example ARGS="--invoices 200000 --runs 1".
bench:
	scripts/setup.sh bench
	scripts/bench.sh $(ARGS)

lint:
	scripts/setup.sh test
	scripts/test.sh lint

# Only the tests that break something on purpose, on the binaries `make test` built.
faults:
	scripts/setup.sh test
	scripts/test.sh faults

# Licences, sources and versions of all dependencies, against deny.toml. ARGS="advisories" asks for
# known vulnerabilities, where their database can be reached.
deny:
	scripts/setup.sh deny
	scripts/test.sh deny $(or $(ARGS),licenses bans sources)

# docs/ as pages with search: target/book/index.html.
book:
	scripts/setup.sh book
	. scripts/env.sh && mkdocs build
	@echo "Its search needs a server: python3 -m http.server -d target/book, then http://127.0.0.1:8000"

# The whole platform in containers: Postgres, S3, Airflow; COMPOSE_PROFILES=streaming adds Kafka and Debezium.
up:
	scripts/up.sh $(ARGS)

# Stops it; ARGS=-v forgets its data as well.
down:
	docker compose --profile "*" down $(ARGS)
