module github.com/tomo-project/backup/examples/bbolt

go 1.26.0

require (
	github.com/stretchr/testify v1.12.1
	github.com/tomo-project/backup v0.0.0
	go.etcd.io/bbolt v1.5.0
)

require (
	github.com/go-json-experiment/json v1.27.2 // indirect
	github.com/klauspost/compress v1.20.4 // indirect
	github.com/santhosh-tekuri/jsonschema/v5 v5.3.1 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/mod v0.42.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
)

replace github.com/tomo-project/backup => ../..
