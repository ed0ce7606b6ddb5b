package container

import (
	"sync"

	"lighter/task"
)

// door is where clients of a container come in: they wait before it until the
// process is launched, so that they miss nothing of what it prints.
type door struct {
	mu       sync.Mutex
	pending  []task.Client
	launched bool // clients go straight to the keeper
}

// wait greets a client and keeps it for the start, unless the process is there already.
// No start comes between the two.
func (d *door) wait(client task.Client, greet func() error) (waits bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.launched {
		return false, nil
	}
	if err := greet(); err != nil {
		return false, err
	}
	d.pending = append(d.pending, client)
	return true, nil
}

// take gives the clients that are there before a launch.
func (d *door) take() []task.Client {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := d.pending
	d.pending = nil
	return list
}

// open lets later clients go straight to the keeper, and gives those who came
// during the launch.
func (d *door) open() []task.Client {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.launched = true
	list := d.pending
	d.pending = nil
	return list
}

// shut makes later clients wait for the next start.
func (d *door) shut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.launched = false
}

// drop sends away who waits for a start that will not be.
func (d *door) drop() {
	d.shut()
	closeClients(d.take())
}
