package main

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// limits are what this machine could do at most with the same bytes, in images a
// second: the medians of measurements between the runs of a row.
type limits struct {
	Loopback float64 `json:"loopback"` // a bare TCP copy on as many connections
	Fsync    float64 `json:"fsync"`    // as many writers: write and fsync each file
	Durable  float64 `json:"durable"`  // the same, rename and fsync of the folder with it
}

type limitTimes struct{ loopback, fsync, durable []float64 }

func (l limitTimes) medians() *limits {
	return &limits{median(l.loopback), median(l.fsync), median(l.durable)}
}

// measure adds one measurement of each.
func (b *bench) measure(l *limitTimes, parts []string) error {
	images := make([][][]byte, len(parts))
	for i, part := range parts {
		files, err := os.ReadDir(part)
		if err != nil {
			return err
		}
		for _, f := range files {
			data, err := os.ReadFile(filepath.Join(part, f.Name()))
			if err != nil {
				return err
			}
			images[i] = append(images[i], data)
		}
	}
	for _, m := range []struct {
		into *[]float64
		copy func(dir string, images [][]byte) error
	}{
		{&l.loopback, overLoopback},
		{&l.fsync, func(dir string, images [][]byte) error { return toDisk(dir, images, false) }},
		{&l.durable, func(dir string, images [][]byte) error { return toDisk(dir, images, true) }},
	} {
		dir, err := os.MkdirTemp(b.dir, "limit-")
		if err != nil {
			return err
		}
		var all sync.WaitGroup
		errs := make([]error, len(images))
		begin := time.Now()
		for i := range images {
			all.Go(func() {
				own := filepath.Join(dir, strconv.Itoa(i))
				if errs[i] = os.Mkdir(own, 0o700); errs[i] == nil {
					errs[i] = m.copy(own, images[i])
				}
			})
		}
		all.Wait()
		*m.into = append(*m.into, float64(b.slices)/time.Since(begin).Seconds())
		os.RemoveAll(dir)
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	return nil
}

func overLoopback(_ string, images [][]byte) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	read := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 128<<10))
			c.Close()
		}
		read <- err
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return err
	}
	for _, image := range images {
		if _, err := c.Write(image); err != nil {
			c.Close()
			return err
		}
	}
	c.Close()
	return <-read
}

func toDisk(dir string, images [][]byte, durable bool) error {
	for i, image := range images {
		path := filepath.Join(dir, strconv.Itoa(i))
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		_, err = f.Write(image)
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
		if !durable {
			continue
		}
		if err := os.Rename(path, path+".dcm"); err != nil {
			return err
		}
		d, err := os.Open(dir)
		if err != nil {
			return err
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			return err
		}
	}
	return nil
}
