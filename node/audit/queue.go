package audit

import (
	"bytes"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Bounds of what waits in memory for the disk: a second of the busiest node, or a
// disk that is full for a while.
const (
	maxQueued = 4096 // messages
	maxBytes  = 8 << 20
	maxBatch  = 64 << 10 // bytes that are written at once, and one message besides
)

// writeAgain is how long after a failure the disk is tried again.
const writeAgain = time.Second

// queue hands messages to what keeps them, in order, without anyone waiting. Where
// that fails for long the oldest are lost.
type queue struct {
	what string // in the log
	add  func(text []byte, messages int) error
	form func(message []byte) []byte
	lost func(messages int)
	log  *zap.Logger

	mu      sync.Mutex
	waiting [][]byte
	bytes   int

	arrived chan struct{}
	stopped chan struct{}
	done    chan struct{}
	again   time.Duration
}

func (q *queue) push(message []byte) {
	one := q.form(message)
	q.mu.Lock()
	q.waiting = append(q.waiting, one)
	q.bytes += len(one)
	gone := 0
	for len(q.waiting) > maxQueued || q.bytes > maxBytes {
		q.dropLocked()
		gone++
	}
	q.mu.Unlock()
	if gone > 0 {
		q.lost(gone)
	}
	select {
	case q.arrived <- struct{}{}:
	default:
	}
}

// take takes the next messages out, as one text.
func (q *queue) take() (text []byte, messages int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var b bytes.Buffer
	for len(q.waiting) > 0 && b.Len() < maxBatch {
		b.Write(q.waiting[0])
		q.dropLocked()
		messages++
	}
	return b.Bytes(), messages
}

// dropLocked lets go of the oldest message, and of its memory.
func (q *queue) dropLocked() {
	q.bytes -= len(q.waiting[0])
	q.waiting[0], q.waiting = nil, q.waiting[1:]
}

// run writes until it is stopped, and then once more what waits.
func (q *queue) run() {
	defer close(q.done)
	var text []byte
	var messages int
	failing, stopping := false, false
	for {
		if messages == 0 {
			if text, messages = q.take(); messages == 0 {
				if stopping {
					return
				}
				select {
				case <-q.arrived:
				case <-q.stopped:
					stopping = true
				}
				continue
			}
		}
		err := q.add(text, messages)
		switch {
		case err == nil:
			if failing {
				q.log.Info("audit_written_again", zap.String("to", q.what))
			}
			failing, messages = false, 0
			continue
		case stopping:
			q.mu.Lock()
			rest := len(q.waiting)
			q.mu.Unlock()
			q.lost(messages + rest)
			return
		case !failing:
			q.log.Error("audit_not_written", zap.String("to", q.what), zap.Error(err),
				zap.String("do", "make room, or let the user that runs pulmonode write there: the latest messages wait in memory"))
		}
		failing = true
		select {
		case <-q.stopped:
			stopping = true
		case <-time.After(q.again):
		}
	}
}
