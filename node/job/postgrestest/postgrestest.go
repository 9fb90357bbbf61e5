// Package postgrestest starts a PostgreSQL server of its own for tests, from
// the server binaries that are installed, in a folder of its own and reached
// over a socket in it. PostgreSQL does not run as root; where the test does, the
// server runs as the first user of Users that there is.
package postgrestest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Users are whom the server may run as when the test runs as root.
var Users = []string{"postgres", "nobody"}

// Missing says why there is no PostgreSQL here: a sentence for a test to skip with.
type Missing struct{ Why string }

func (e *Missing) Error() string {
	return e.Why + " (to have it: apt-get install postgresql)"
}

// Server is a PostgreSQL server that runs, or was killed.
type Server struct {
	dir     string // holds data/ and the socket
	bin     string
	as      *syscall.Credential
	process *exec.Cmd
	ended   chan struct{}
	log     bytes.Buffer
	locked  sync.Mutex // log
}

// Start makes a server in a new folder and starts it. The error is a *Missing
// where PostgreSQL is not installed.
func Start() (_ *Server, err error) {
	bin := binaries()
	if bin == "" {
		return nil, &Missing{"PostgreSQL's server is not installed"}
	}
	// The path of a socket is bounded by some hundred bytes: a test's own folder
	// may be longer.
	dir, err := os.MkdirTemp("", "pulmonode-postgres-")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, bin: bin}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop())
		}
	}()
	if os.Geteuid() == 0 {
		if s.as, err = other(); err != nil {
			return nil, err
		}
		if err := os.Chown(dir, int(s.as.Uid), int(s.as.Gid)); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := s.run(ctx, "initdb", "--pgdata", s.data(), "--username", role, "--auth", "trust", "--encoding", "UTF8", "--no-locale", "--no-sync"); err != nil {
		return nil, err
	}
	return s, s.Restart()
}

const role = "pulmonode"

// binaries is the folder of the newest server that is installed, "" without one.
func binaries() string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres") // Debian's
	slices.SortFunc(found, func(a, b string) int { return version(a) - version(b) })
	if len(found) > 0 {
		return filepath.Dir(found[len(found)-1])
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		return filepath.Dir(path)
	}
	return ""
}

func version(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return n
}

// other is whom a server runs as that root starts.
func other() (*syscall.Credential, error) {
	for _, name := range Users {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, &Missing{"PostgreSQL does not run as root, and there is no user " + strings.Join(Users, " or ")}
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(ctx context.Context, program string, arguments ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, filepath.Join(s.bin, program), arguments...)
	c.Dir = s.dir
	// Who kills the test kills the server with it.
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.as, Pdeathsig: syscall.SIGQUIT}
	c.Env = append(os.Environ(), "LC_ALL=C", "PGTZ=UTC")
	return c
}

func (s *Server) run(ctx context.Context, program string, arguments ...string) error {
	if out, err := s.command(ctx, program, arguments...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, out)
	}
	return nil
}

// Write keeps the server's log for an error.
func (s *Server) Write(p []byte) (int, error) {
	s.locked.Lock()
	defer s.locked.Unlock()
	if s.log.Len() > 64<<10 {
		s.log.Reset()
	}
	return s.log.Write(p)
}

// Restart starts the server after Kill, and returns when it takes connections.
func (s *Server) Restart() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for {
		// Those that served the connections of a server that was killed end by
		// themselves, and until they have the next does not start.
		err := s.launch(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (s *Server) launch(ctx context.Context) error {
	process := s.command(context.Background(), "postgres", "-D", s.data(), "-k", s.dir,
		"-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200", "-c", "shared_buffers=16MB")
	process.Stdout, process.Stderr = s, s
	if err := process.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		process.Wait()
		close(ended)
	}()
	s.process, s.ended = process, ended
	for {
		if s.run(ctx, "pg_isready", "-q", "-h", s.dir) == nil {
			return nil
		}
		select {
		case <-ended:
			s.process = nil
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
			continue
		}
		s.locked.Lock()
		defer s.locked.Unlock()
		return fmt.Errorf("PostgreSQL did not start: %s", s.log.String())
	}
}

// Kill ends the server as a power cut would (kill -9), with all that serve its
// connections.
func (s *Server) Kill() {
	if s.process == nil {
		return
	}
	s.process.Process.Kill()
	<-s.ended
	s.process = nil
}

// Stop ends the server and removes its folder.
func (s *Server) Stop() error {
	if s.process != nil {
		s.process.Process.Signal(syscall.SIGQUIT)
		<-s.ended
		s.process = nil
	}
	return os.RemoveAll(s.dir)
}

// Database makes an empty database and returns its URL.
func (s *Server) Database(name string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.run(ctx, "createdb", "-h", s.dir, "-U", role, name); err != nil {
		return "", err
	}
	return s.URL(name), nil
}

// URL is that of a database.
func (s *Server) URL(name string) string {
	u := url.URL{Scheme: "postgres", Path: "/" + name, RawQuery: url.Values{"host": {s.dir}, "user": {role}}.Encode()}
	return u.String()
}

// Copy makes a copy of a database, which nobody may use meanwhile.
func (s *Server) Copy(from, to string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return s.run(ctx, "createdb", "-h", s.dir, "-U", role, "-T", from, to)
}
