// Package check tries what a configuration names: the disk, the listeners, the
// certificates, the destinations, the runtime library and the models. What can
// be seen in the settings alone is config's. Every fault is reported, each with
// what to do; nothing is left behind.
package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/dimse"
)

const (
	// slowDisk is the rate of durable writes below which receiving holds a
	// scanner up: a series of 300 would take more than ten seconds.
	slowDisk = 30.0 // files of 512 KiB a second
	// expiring is how long before a certificate's end is warned of.
	expiring = 30 * 24 * time.Hour
	// echoWithin bounds the whole conversation with one destination.
	echoWithin = 15 * time.Second
)

// Run tries everything that c names and returns every fault in the order of the file.
func Run(ctx context.Context, c *config.Config) []config.Fault {
	parts := []func() []config.Fault{
		func() []config.Fault { return listeners(ctx, c) },
		func() []config.Fault { return disk(c) },
		func() []config.Fault { return certificates(c) },
		func() []config.Fault { return destinations(ctx, c) },
		func() []config.Fault { return pipeline(c) },
	}
	found := make([][]config.Fault, len(parts))
	var wg sync.WaitGroup
	for i, part := range parts {
		wg.Go(func() { found[i] = part() })
	}
	wg.Wait()
	var all []config.Fault
	for _, f := range found {
		all = append(all, f...)
	}
	return all
}

func fault(where, problem, remedy string) config.Fault {
	return config.Fault{Where: where, Problem: problem, Remedy: remedy}
}

func warning(where, problem, remedy string) config.Fault {
	return config.Fault{Where: where, Problem: problem, Remedy: remedy, Warning: true}
}

func listeners(ctx context.Context, c *config.Config) (faults []config.Fault) {
	for _, l := range []struct{ where, address string }{
		{"[node] listen", c.Node.Listen}, {"[tls] listen", c.TLS.Listen}, {"[admin] listen", c.Admin.Listen},
	} {
		if l.address == "" {
			continue
		}
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", l.address)
		switch {
		case err == nil:
			listener.Close()
		case errors.Is(err, syscall.EADDRINUSE):
			faults = append(faults, warning(l.where, fmt.Sprintf("%s is in use", l.address), "that is right if this node is running; else choose another port"))
		case errors.Is(err, syscall.EACCES):
			faults = append(faults, fault(l.where, fmt.Sprintf("%s may not be opened", l.address), "choose a port above 1023, or give the program CAP_NET_BIND_SERVICE"))
		default:
			faults = append(faults, fault(l.where, err.Error(), "name an address of this machine"))
		}
	}
	return faults
}

// disk writes as the store does, into a folder of its own.
func disk(c *config.Config) (faults []config.Fault) {
	const where = "[storage] data_dir"
	dir := c.Storage.DataDir
	// The folder need not exist yet; the nearest one that does must let us in.
	existing := dir
	for {
		info, err := os.Stat(existing)
		if err == nil && !info.IsDir() {
			return []config.Fault{fault(where, fmt.Sprintf("%s is no folder", existing), "name a folder")}
		}
		if err == nil {
			break
		}
		parent := filepath.Dir(existing)
		if !errors.Is(err, fs.ErrNotExist) || parent == existing {
			return []config.Fault{fault(where, err.Error(), "name a folder that this user may enter")}
		}
		existing = parent
	}
	trial, err := os.MkdirTemp(existing, ".pulmonode-check-")
	if err != nil {
		return []config.Fault{fault(where, fmt.Sprintf("%s can't be written: %v", existing, err), "give the user that runs pulmonode the right to write there")}
	}
	defer os.RemoveAll(trial)
	var st unix.Statfs_t
	if err := unix.Statfs(trial, &st); err == nil {
		free := config.Size(st.Bavail * uint64(st.Bsize))
		if free < c.Storage.StopReceivingBelow {
			faults = append(faults, fault("[storage] stop_receiving_below",
				fmt.Sprintf("%.1f GiB are free, and senders are told \"out of resources\" below %v", float64(free)/float64(config.GiB), c.Storage.StopReceivingBelow),
				"free some space, or lower the mark"))
			return faults
		}
	}
	rate, err := durableRate(trial)
	switch {
	case err != nil:
		faults = append(faults, fault(where, fmt.Sprintf("a trial write failed: %v", err), "look at the disk"))
	case rate < slowDisk:
		faults = append(faults, warning(where, fmt.Sprintf("the disk keeps %.0f slices a second durably", rate), "scanners will wait: use a local disk or one with a write cache that survives a power cut"))
	}
	return faults
}

// durableRate writes slices of 512 KiB with an fsync each, for half a second at most.
func durableRate(dir string) (filesPerSecond float64, err error) {
	slice := make([]byte, 512<<10)
	begin := time.Now()
	n := 0
	for ; n < 32 && time.Since(begin) < 500*time.Millisecond; n++ {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(n)))
		if err != nil {
			return 0, err
		}
		_, err = f.Write(slice)
		err = errors.Join(err, f.Sync(), f.Close())
		if err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(begin).Seconds(), nil
}

func certificates(c *config.Config) (faults []config.Fault) {
	if c.TLS.Certificate != "" || c.TLS.Key != "" {
		pair, err := tls.LoadX509KeyPair(c.TLS.Certificate, c.TLS.Key)
		if err != nil {
			faults = append(faults, fault("[tls] certificate", err.Error(), "name a PEM certificate and its key"))
		} else if left := time.Until(pair.Leaf.NotAfter); left < 0 {
			faults = append(faults, fault("[tls] certificate", fmt.Sprintf("ended on %s", pair.Leaf.NotAfter.Format(time.DateOnly)), "renew it"))
		} else if left < expiring {
			faults = append(faults, warning("[tls] certificate", fmt.Sprintf("ends on %s", pair.Leaf.NotAfter.Format(time.DateOnly)), "renew it"))
		}
	}
	if c.TLS.ClientCA != "" {
		pem, err := os.ReadFile(c.TLS.ClientCA)
		if err != nil {
			faults = append(faults, fault("[tls] client_ca", err.Error(), "name the PEM file of the authority that signed the senders' certificates"))
		} else if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			faults = append(faults, fault("[tls] client_ca", "holds no certificate", "name a PEM file"))
		}
	}
	return faults
}

// destinations sends each a C-ECHO, all at once.
func destinations(ctx context.Context, c *config.Config) []config.Fault {
	found := make([][]config.Fault, len(c.Destination))
	var wg sync.WaitGroup
	for i, d := range c.Destination {
		wg.Go(func() {
			where := fmt.Sprintf("[[destination]] %q", d.Name)
			ctx, cancel := context.WithTimeout(ctx, echoWithin)
			defer cancel()
			secure, err := TLSClient(c, d)
			if err != nil {
				return // certificates said so
			}
			if err := Echo(ctx, dimse.Client{CallingAE: c.Node.AETitle, CalledAE: d.AETitle, Address: d.Address, TLS: secure}); err != nil {
				found[i] = []config.Fault{fault(where, err.Error(), fmt.Sprintf("look whether %s runs at %s and knows the AE title %s", d.AETitle, d.Address, c.Node.AETitle))}
			}
		})
	}
	wg.Wait()
	var all []config.Fault
	for _, f := range found {
		all = append(all, f...)
	}
	return all
}
