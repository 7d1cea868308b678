# What a person does daily, one command each. CONTRIBUTING.md says more.
.PHONY: test long lint fuzz bench golden demo tidy

test:
	go test work

long:
	BACKUP_LONG_TESTS=1 go test -timeout 15m work
	cd internal/integration/pocketbase && GOWORK=off go test ./...

# go tool builds staticcheck in its own module and prints where it lies.
lint:
	@test -z "$$(gofmt -l .)" || { gofmt -d .; exit 1; }
	go vet work
	"$$(cd tools && GOWORK=off go tool -n staticcheck)" work

FUZZTIME ?= 30s
fuzz:
	tools/fuzz $(FUZZTIME)

bench:
	go test -run '^$$' -bench . -benchmem work

golden:
	go test $$(grep -rl --include='*_test.go' 'flag.Bool("update"' . | xargs -n1 dirname | sort -u) -update

demo:
	go run ./examples/tomo demo

tidy:
	for m in . examples examples/bbolt internal/integration internal/integration/pocketbase pgxwire s3location tools; do (cd $$m && go mod tidy) || exit 1; done
