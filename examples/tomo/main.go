// Command tomo is the command line of Tomo's backup guide, on a SQLite
// database, and a small Tomo with a web interface. It is a worked example of a
// host that embeds the backup library.
//
// Start with
//
//	go run ./examples/tomo demo
//	go run ./examples/tomo serve
//
// Exit status: 0 done, 1 failed, 2 wrong usage.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// version is the version of this build. A release sets it with
// -ldflags "-X main.version=2.1.0".
var version = "2.1.0"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	status := (&cli{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}).run(ctx, os.Args[1:])
	stop()
	os.Exit(status)
}
