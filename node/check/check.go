// Package check tries what a configuration names: the disk, the listeners, the
// certificates, the destinations, the runtime library and the models. What can
// be seen in the settings alone is config's. Every fault is reported, each with
// what to do; nothing is left behind.
package check

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/node/admin"
	"github.com/pulmonode/pulmonode/node/secure"
	"github.com/pulmonode/pulmonode/node/store"
)

const (
	// slowDisk is the rate of durable writes below which receiving holds a
	// scanner up: a series of 300 would take more than ten seconds.
	slowDisk = 30.0 // files of 512 KiB a second
	// expiring is how long before a certificate's end is warned of.
	expiring = 30 * 24 * time.Hour
)

// surroundings are what the node would meet; a test puts others in their place.
type surroundings struct {
	now         func() time.Time
	listen      func(ctx context.Context, network, address string) (net.Listener, error)
	free        func(dir string) (config.Size, error) // bytes left to this user
	echoWithin  time.Duration                         // the whole conversation with one destination
	closeWithin time.Duration                         // its end of the connection, once it was given up
}

var real = surroundings{
	now:    time.Now,
	listen: new(net.ListenConfig).Listen,
	free: func(dir string) (config.Size, error) {
		var st unix.Statfs_t
		err := unix.Statfs(dir, &st)
		return config.Size(st.Bavail * uint64(st.Bsize)), err
	},
	echoWithin:  15 * time.Second,
	closeWithin: time.Second,
}

// Run tries everything that c names and returns every fault in the order of the file.
func Run(ctx context.Context, c *config.Config) []config.Fault { return real.run(ctx, c) }

func (s surroundings) run(ctx context.Context, c *config.Config) []config.Fault {
	parts := []func() []config.Fault{
		func() []config.Fault { return s.listener(ctx, "[node] listen", c.Node.Listen) },
		func() []config.Fault { return append(inUse(c.Storage), s.disk(c.Storage)...) },
		func() []config.Fault { return permissions(c) },
		func() []config.Fault { return s.listener(ctx, "[tls] listen", c.TLS.Listen) },
		func() []config.Fault { return s.certificates("[tls]", c.TLS) },
		func() []config.Fault { return s.destinations(ctx, c) },
		func() []config.Fault { return pipeline(c.Inference) },
		func() []config.Fault { return s.queue(ctx, c) },
		func() []config.Fault { return s.listener(ctx, "[admin] listen", c.Admin.Listen) },
		func() []config.Fault { return s.admin(c.Admin) },
		func() []config.Fault { return s.audit(ctx, c) },
	}
	found := make([][]config.Fault, len(parts))
	var wg sync.WaitGroup
	for i, part := range parts {
		wg.Go(func() { found[i] = part() })
	}
	wg.Wait()
	return slices.Concat(found...)
}

func fault(where, problem, remedy string) config.Fault {
	return config.Fault{Where: where, Problem: problem, Remedy: remedy}
}

func warning(where, problem, remedy string) config.Fault {
	return config.Fault{Where: where, Problem: problem, Remedy: remedy, Warning: true}
}

// cause is what the system says, without the name of a trial file.
func cause(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

func (s surroundings) listener(ctx context.Context, where, address string) []config.Fault {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil // empty, or what the settings are at fault for
	}
	l, err := s.listen(ctx, "tcp", address)
	switch {
	case err == nil:
		l.Close()
		return nil
	case errors.Is(err, syscall.EADDRINUSE):
		return []config.Fault{warning(where, fmt.Sprintf("%s is in use", address),
			"that is right if this node is running; else choose another port, or stop the program that `ss -ltnp` shows there")}
	case errors.Is(err, syscall.EACCES):
		return []config.Fault{fault(where, fmt.Sprintf("this user may not open %s", address),
			"choose a port above 1023, or give the program CAP_NET_BIND_SERVICE (AmbientCapabilities in its systemd unit)")}
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return []config.Fault{fault(where, fmt.Sprintf("%s is no address of this machine", address),
			`name one that "ip address" shows, or leave the host out (":11112") to listen on all`)}
	}
	return []config.Fault{fault(where, err.Error(), `write "host:port" with an address of this machine, or ":port"`)}
}

// inUse looks for a node that works on the folder.
func inUse(c config.Storage) []config.Fault {
	if !store.InUse(c.DataDir) {
		return nil
	}
	return []config.Fault{warning("[storage] data_dir", fmt.Sprintf("a pulmonode works on %s", c.DataDir), "that is right if this node is running; a second one needs a folder of its own")}
}

// disk writes as the store does, into a folder of its own.
func (s surroundings) disk(c config.Storage) []config.Fault {
	const where = "[storage] data_dir"
	// The folder need not exist yet; the nearest one that does must let us in.
	existing := c.DataDir
	for {
		info, err := os.Stat(existing)
		if err == nil && !info.IsDir() || errors.Is(err, syscall.ENOTDIR) {
			return []config.Fault{fault(where, fmt.Sprintf("%s is a file, or leads through one", c.DataDir), "name a folder; one that does not exist is made")}
		}
		if err == nil {
			break
		}
		parent := filepath.Dir(existing)
		if !errors.Is(err, fs.ErrNotExist) || parent == existing {
			return []config.Fault{fault(where, fmt.Sprintf("%s can't be looked at: %v", existing, cause(err)), "name a folder that the user that runs pulmonode may enter")}
		}
		existing = parent
	}
	trial, err := os.MkdirTemp(existing, ".pulmonode-check-")
	if err != nil {
		remedy := "if check runs as the user that runs pulmonode, give it that folder: chown USER " + existing
		if existing != c.DataDir { // a system's folder is nobody's to give away
			remedy = "if check runs as the user that runs pulmonode, make the folder for it: install -d -o USER " + c.DataDir
		}
		return []config.Fault{fault(where, fmt.Sprintf("nothing can be written in %s: %v", existing, cause(err)), remedy)}
	}
	defer os.RemoveAll(trial)
	free, err := s.free(trial)
	if err != nil {
		return []config.Fault{fault(where, fmt.Sprintf("the disk of %s does not say how much is free: %v", existing, err), "use a local disk")}
	}
	if free < c.StopReceivingBelow {
		return []config.Fault{fault("[storage] stop_receiving_below",
			fmt.Sprintf("%.1f GiB are free on the disk of %s; below %v senders are told \"out of resources\"", float64(free)/float64(config.GiB), existing, c.StopReceivingBelow),
			"free some space, name a data_dir on a larger disk, shorten [storage] keep, or lower this mark")}
	}
	var faults []config.Fault
	if mark := c.MakeRoomBelow(); free < mark { // a word too large for the disk looks like this for ever
		faults = append(faults, warning("[storage] delete_delivered_below",
			fmt.Sprintf("%.1f GiB are free on the disk of %s; below %v delivered series are deleted at once, whatever [storage] keep says", float64(free)/float64(config.GiB), existing, mark),
			"free some space, or lower this mark if the disk never has so much free"))
	}
	rate, err := s.durableRate(trial)
	switch {
	case err != nil:
		return append(faults, fault(where, fmt.Sprintf("a trial write in %s failed: %v", existing, cause(err)), "look at the disk and its quotas: `dmesg` and `df -h` say more"))
	case rate < slowDisk:
		return append(faults, warning(where, fmt.Sprintf("the disk keeps %.0f slices a second for certain, and a scanner sends %.0f or more", rate, slowDisk),
			"scanners will wait for it: use a local SSD, or one whose write cache survives a power cut"))
	}
	return faults
}

// durableRate writes slices of 512 KiB with an fsync each, for half a second at most.
func (s surroundings) durableRate(dir string) (filesPerSecond float64, err error) {
	slice := make([]byte, 512<<10)
	begin := s.now()
	n := 0
	for ; n < 32 && s.now().Sub(begin) < 500*time.Millisecond; n++ {
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
	return float64(n) / s.now().Sub(begin).Seconds(), nil
}

// admin looks at who may come in to the page.
func (s surroundings) admin(c config.Admin) []config.Fault {
	faults := s.certificates("[admin]", config.TLS{Certificate: c.Certificate, Key: c.Key, ClientCA: c.ClientCA})
	if c.PasswordFile != "" {
		if err := admin.CheckPasswords(c.PasswordFile); err != nil {
			faults = append(faults, fault("[admin] password_file", err.Error(),
				fmt.Sprintf("`pulmonode password --file %s USER` writes it, as root with a chown to the user that runs the node; until it is whole nobody comes in by password", c.PasswordFile)))
		}
	}
	return faults
}

func (s surroundings) certificates(section string, c config.TLS) (faults []config.Fault) {
	if c.Certificate != "" || c.Key != "" {
		faults = append(faults, s.ownCertificate(section, c)...)
	}
	if c.ClientCA != "" {
		if _, err := secure.Authorities(c.ClientCA); err != nil {
			faults = append(faults, fault(section+" client_ca", fmt.Sprintf("%s: %v", c.ClientCA, cause(err)),
				"name the PEM file with the certificate of the authority that signed the peers' certificates"))
		}
	}
	return faults
}

func (s surroundings) ownCertificate(section string, c config.TLS) []config.Fault {
	where := section + " certificate"
	const renew = "have it renewed and put the new files in the same place; no restart is needed"
	pair, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) && pe.Path == c.Key {
		return []config.Fault{fault(section+" key", fmt.Sprintf("%s: %v", c.Key, pe.Err), "name the PEM file with the certificate's private key, and let the user that runs pulmonode read it")}
	}
	if err != nil {
		return []config.Fault{fault(where, fmt.Sprintf("%s: %v", c.Certificate, cause(err)), fmt.Sprintf("name a PEM certificate, and in %s key the private key that belongs to it", section))}
	}
	from, to, now := pair.Leaf.NotBefore, pair.Leaf.NotAfter, s.now()
	switch {
	case now.Before(from):
		return []config.Fault{fault(where, fmt.Sprintf("%s holds only from %s on", c.Certificate, from.Format(time.DateOnly)), "look whether this machine's clock is right; else wait, or take the former certificate")}
	case now.After(to):
		return []config.Fault{fault(where, fmt.Sprintf("%s ended on %s, so everybody refuses it", c.Certificate, to.Format(time.DateOnly)), renew)}
	case now.Add(expiring).After(to):
		return []config.Fault{warning(where, fmt.Sprintf("%s ends on %s", c.Certificate, to.Format(time.DateOnly)), renew)}
	}
	return nil
}
