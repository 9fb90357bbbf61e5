// Command day is `make day`: a day of a hospital in some minutes. Eight senders
// of different habits send to a node, three destinations take its results, and
// what goes wrong in a year goes wrong at known moments. Then each promise of the
// node is held against what the destinations have and what the node says, and it
// is measured how many series an hour it takes. It exits 0 only when every
// promise was kept.
package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	d := day{out: os.Stdout}
	flag.StringVar(&d.binary, "pulmonode", "bin/pulmonode", "the built command")
	flag.DurationVar(&d.length, "for", 10*time.Minute, "how long 24 hours last")
	flag.IntVar(&d.count, "series", 0, "how many; 0: one for each three seconds")
	flag.DurationVar(&d.drain, "drain", 15*time.Minute, "how long what waits at the end of the day is waited for")
	flag.StringVar(&d.picture, "picture", "", "the file for the picture of the day (PNG)")
	flag.StringVar(&d.json, "json", "", "the file for the report (JSON)")
	flag.BoolVar(&d.capacity, "capacity", true, "measure how many series an hour are taken")
	queue := flag.String("queue", "sqlite", "sqlite or postgres, which the day starts for itself")
	keep := flag.String("keep", "", "an empty folder to work in that is kept; a temporary one otherwise")
	flag.Parse()
	if *queue != "sqlite" && *queue != "postgres" {
		fmt.Fprintf(os.Stderr, "day: -queue is sqlite or postgres, not %q\n", *queue)
		os.Exit(2)
	}
	if d.count == 0 {
		d.count = int(math.Round(d.length.Seconds() / 3))
	}
	d.whole = d.count / 150
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d.dir, d.postgres = *keep, *queue == "postgres"
	broken, err := d.run(ctx)
	for _, b := range broken {
		fmt.Println("BROKEN:", b)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "day:", err)
	}
	if err != nil || len(broken) > 0 {
		os.Exit(1)
	}
}
