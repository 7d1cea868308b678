//go:build !unix

package main

import "time"

// processorTime returns 0: this system is not asked how long the process has run.
func processorTime() time.Duration { return 0 }
