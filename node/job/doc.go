// Package job is the queue of work: analyses of closed series and deliveries
// of their results. It is an index, never the truth. What is to be done
// follows from the files of package store (a closing without a generation
// wants an analysis, a generation without all receipts wants deliveries), so a
// queue that is deleted or corrupt is rebuilt and nothing is lost or doubled.
//
// The queue is River on SQLite, one file, one connection, write-ahead log with
// synchronous=FULL. Analyses share one queue with one worker: the machine has
// one set of cores and one GPU. Each destination has its own queue and worker,
// so a destination that hangs delays no other. A job that fails is tried again
// with exponential back-off and jitter until its attempts are used up; then it
// is failed and waits for a person. This is the one place that talks to River.
package job
