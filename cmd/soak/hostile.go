package main

import (
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// foe is one hostile conversation. It may last a few seconds.
type foe struct {
	name string
	talk func(s *soak, c *net.TCPConn, random *rand.Rand)
}

// patience is how long a hostile peer keeps what it holds.
const patience = 3 * time.Second

// storm is how many associations one peer opens at once.
const storm = 24

var foes = []foe{
	{"silent", func(_ *soak, c *net.TCPConn, _ *rand.Rand) { listen(c) }},
	{"slow loris", func(s *soak, c *net.TCPConn, _ *rand.Rand) {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for i := range s.recording[:50] {
			if _, err := c.Write(s.recording[i : i+1]); err != nil {
				return
			}
			<-tick.C
		}
	}},
	{"half an association", func(s *soak, c *net.TCPConn, random *rand.Rand) {
		c.Write(s.recording[:random.IntN(len(s.recording))])
		c.CloseWrite()
		listen(c)
	}},
	{"stops in the middle", func(s *soak, c *net.TCPConn, random *rand.Rand) {
		c.Write(s.recording[:random.IntN(len(s.recording))])
		listen(c)
	}},
	{"reset in the middle", func(s *soak, c *net.TCPConn, random *rand.Rand) {
		c.Write(s.recording[:random.IntN(len(s.recording))])
		c.SetLinger(0)
	}},
	{"noise", func(_ *soak, c *net.TCPConn, random *rand.Rand) {
		c.Write(noise(random, 4096))
		listen(c)
	}},
	{"noise as PDUs", func(_ *soak, c *net.TCPConn, random *rand.Rand) {
		for range 1 + random.IntN(8) {
			b := noise(random, 512)
			c.Write(binary.BigEndian.AppendUint32([]byte{byte(1 + random.IntN(8)), 0}, uint32(len(b))))
			c.Write(b)
		}
		listen(c)
	}},
	{"noise within an association", func(s *soak, c *net.TCPConn, random *rand.Rand) {
		c.Write(s.recording[:requestLength(s.recording)])
		b := noise(random, 2048)
		c.Write(binary.BigEndian.AppendUint32([]byte{4, 0}, uint32(len(b)+6)))
		c.Write(binary.BigEndian.AppendUint32(nil, uint32(len(b)+2)))
		c.Write(append([]byte{1, byte(random.IntN(4))}, b...))
		listen(c)
	}},
	{"a PDU of 4 GiB", func(s *soak, c *net.TCPConn, random *rand.Rand) {
		if random.IntN(2) == 0 {
			c.Write(s.recording[:requestLength(s.recording)])
		}
		c.Write([]byte{byte(1 + random.IntN(7)), 0, 0xFF, 0xFF, 0xFF, 0xFF})
		c.Write(noise(random, 64<<10))
		listen(c)
	}},
	{"zero window", func(s *soak, c *net.TCPConn, _ *rand.Rand) {
		c.SetReadBuffer(1)
		c.SetWriteDeadline(time.Now().Add(patience))
		c.Write(s.recording[:requestLength(s.recording)])
		messages := s.recording[requestLength(s.recording) : len(s.recording)-10] // without the release
		for range 1000 {
			if _, err := c.Write(messages); err != nil {
				return
			}
		}
	}},
	{"flipped bits", func(s *soak, c *net.TCPConn, random *rand.Rand) {
		b := append([]byte(nil), s.recording...)
		for range 1 + random.IntN(16) {
			b[random.IntN(len(b))] ^= 1 << random.IntN(8)
		}
		go c.Write(b)
		listen(c)
	}},
	{"flipped bits in the request", func(s *soak, c *net.TCPConn, random *rand.Rand) {
		b := append([]byte(nil), s.recording...)
		b[random.IntN(requestLength(b))] ^= 1 << random.IntN(8)
		go c.Write(b)
		listen(c)
	}},
	{"connects and hangs up, a hundred times", func(s *soak, c *net.TCPConn, _ *rand.Rand) {
		for range 100 {
			if c, err := net.Dial("tcp", s.node.DICOM); err == nil {
				c.Close()
			}
		}
	}},
	{"storm", func(s *soak, c *net.TCPConn, random *rand.Rand) {
		var all sync.WaitGroup
		for range storm {
			all.Go(func() {
				if c, err := net.Dial("tcp", s.node.DICOM); err == nil {
					c.Write(s.recording[:requestLength(s.recording)])
					c.SetReadDeadline(time.Now().Add(patience))
					c.Read(make([]byte, 64))
					c.Close()
				}
			})
		}
		all.Wait()
	}},
}

// harm is one hostile peer.
func (s *soak) harm(ctx context.Context, random *rand.Rand) {
	for ctx.Err() == nil {
		c, err := net.Dial("tcp", s.node.DICOM)
		if err != nil {
			s.kept.Fail("the node takes no connection: " + err.Error())
			pause(ctx, time.Second)
			continue
		}
		foes[random.IntN(len(foes))].talk(s, c.(*net.TCPConn), random)
		c.Close()
		s.hostile.Add(1)
		pause(ctx, time.Duration(random.IntN(100))*time.Millisecond)
	}
}

// listen reads until the node closes, or patience is at an end.
func listen(c *net.TCPConn) {
	c.SetReadDeadline(time.Now().Add(patience))
	io.Copy(io.Discard, c)
}

func noise(random *rand.Rand, most int) []byte {
	b := make([]byte, 1+random.IntN(most))
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

// requestLength is that of the association request at the beginning.
func requestLength(b []byte) int { return 6 + int(binary.BigEndian.Uint32(b[2:])) }

// record is what our client says to the node when it stores two images, taken
// on the way.
func (s *soak) record(ctx context.Context) ([]byte, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	var said []byte
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			from, err := l.Accept()
			if err != nil {
				return err
			}
			defer from.Close()
			to, err := net.Dial("tcp", s.node.DICOM)
			if err != nil {
				return err
			}
			defer to.Close()
			go io.Copy(from, to)
			b := make([]byte, 64<<10)
			for {
				n, err := from.Read(b)
				said = append(said, b[:n]...)
				if _, err := to.Write(b[:n]); err != nil {
					return err
				}
				if err == io.EOF {
					return nil
				} else if err != nil {
					return err
				}
			}
		}()
	}()
	some, err := series(rand.New(rand.NewPCG(1, 1)), "2.25.999")
	if err != nil {
		return nil, err
	}
	conn, err := dial(ctx, l.Addr().String())
	if err != nil {
		return nil, err
	}
	defer conn.Abort()
	for _, i := range some[:1] {
		if _, err := store(ctx, conn, i); err != nil {
			return nil, err
		}
	}
	if err := conn.Release(ctx); err != nil {
		return nil, err
	}
	return said, <-done
}
