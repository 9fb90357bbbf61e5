package store

import "sync"

// locks holds one lock for each name that is in use.
type locks struct {
	mu    sync.Mutex
	names map[string]*namedLock
}

type namedLock struct {
	sync.RWMutex
	users int
}

// lock takes the name alone; rlock shares it. Both return the function that
// gives it back.
func (l *locks) lock(name string) (unlock func()) {
	n := l.use(name)
	n.Lock()
	return func() { n.Unlock(); l.leave(name, n) }
}

func (l *locks) rlock(name string) (unlock func()) {
	n := l.use(name)
	n.RLock()
	return func() { n.RUnlock(); l.leave(name, n) }
}

func (l *locks) use(name string) *namedLock {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.names == nil {
		l.names = make(map[string]*namedLock)
	}
	n := l.names[name]
	if n == nil {
		n = &namedLock{}
		l.names[name] = n
	}
	n.users++
	return n
}

func (l *locks) leave(name string, n *namedLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n.users--; n.users == 0 {
		delete(l.names, name)
	}
}
