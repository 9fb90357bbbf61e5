// Command soak is `make soak`: a node receives for minutes from good peers and
// from hostile ones at once. It ends well when all that a good peer was told to
// be stored is on disk bit for bit, no good peer had a failure, and the node
// holds no more memory, descriptors and goroutines than it did.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	s := soak{python: os.Getenv("PULMONODE_PYTHON"), out: os.Stdout}
	flag.StringVar(&s.binary, "pulmonode", "bin/pulmonode", "the built command")
	flag.DurationVar(&s.length, "for", 10*time.Minute, "how long")
	flag.Uint64Var(&s.seed, "seed", rand.Uint64(), "of the hostile peers' choices")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	faults, err := s.run(ctx)
	for _, f := range faults {
		fmt.Println("FAULT:", f)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
	}
	if err != nil || len(faults) > 0 {
		os.Exit(1)
	}
}
