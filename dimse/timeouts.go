package dimse

import "time"

// Timeouts are the deadlines of an association's phases. A zero field means its
// default, which stands beside it.
type Timeouts struct {
	Request  time.Duration // A-ASSOCIATE-RQ after the connection (ARTIM): 30 s
	Idle     time.Duration // between messages: 5 min
	Message  time.Duration // between PDUs inside a message: 60 s
	Write    time.Duration // a write that the peer does not take: 60 s
	Whole    time.Duration // server, an association from its connection to its end: 6 h
	Closing  time.Duration // the peer closes after a release, reject or abort: 5 s
	Connect  time.Duration // client, the connection: 10 s
	Accept   time.Duration // client, the answer to A-ASSOCIATE-RQ: 30 s
	Response time.Duration // the response to a request of ours: 2 min
	Release  time.Duration // the answer to A-RELEASE-RQ: 10 s
}

func (t Timeouts) withDefaults() Timeouts {
	for _, f := range []struct {
		d  *time.Duration
		is time.Duration
	}{
		{&t.Request, 30 * time.Second}, {&t.Idle, 5 * time.Minute}, {&t.Message, time.Minute}, {&t.Write, time.Minute}, {&t.Whole, 6 * time.Hour},
		{&t.Closing, 5 * time.Second}, {&t.Connect, 10 * time.Second}, {&t.Accept, 30 * time.Second},
		{&t.Response, 2 * time.Minute}, {&t.Release, 10 * time.Second},
	} {
		if *f.d == 0 {
			*f.d = f.is
		}
	}
	return t
}

// keepAlive finds peers that vanished without a word.
const keepAlive = 30 * time.Second
