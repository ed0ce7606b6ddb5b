package container

import (
	"context"
	"fmt"
	"strings"

	"github.com/docker/go-units"

	"lighter/api"
	"lighter/task"
)

// death is what is known of how a run ended: enough to say why.
type death struct {
	code, signal int
	unknown, oom bool
	older        bool  // than the engine, which does not know all that was sent to it
	limit        int64 // of memory, in bytes; 0 for none
	sent         []int // the signals that clients had sent to it, in order
}

// why says in a sentence why a container ended, when there is more to say than its
// exit code does.
func (d *death) why() string {
	last := 0
	if len(d.sent) > 0 {
		last = d.sent[len(d.sent)-1]
	}
	by := d.signal
	if by == 0 && d.code > 128 && d.code <= 128+maxSignal {
		by = d.code - 128 // its handler, or a shell in it, says so
	}
	switch {
	case d.unknown:
		return "nobody knows how it ended: neither engine nor keeper was there"
	case d.oom && d.signal == sigKill && last != sigKill:
		return d.outOfMemory() + ", and the kernel killed it"
	case d.oom:
		return fmt.Sprintf("%s, and the kernel killed a process in it; it ended with exit code %d", d.outOfMemory(), d.code)
	case by != 0 && last == by:
		return d.byClient(by)
	case d.signal == sigKill && d.older:
		return "SIGKILL from outside the container: no client of this engine sent it since it came up, and memory was not short"
	case d.signal == sigKill:
		return "SIGKILL from outside the container: no client of this engine sent it, and memory was not short"
	case d.signal != 0:
		return "it ended on " + signalName(d.signal) + faults[d.signal]
	case by == sigKill:
		return "a process in it was killed by SIGKILL, and it ended with exit code 137"
	case by != 0:
		return fmt.Sprintf("exit code %d: it, or a process in it, ended on %s%s", d.code, signalName(by), faults[by])
	case d.code == 126:
		return "exit code 126: a command in it could not be executed"
	case d.code == 127:
		return "exit code 127: a command in it was not found"
	case d.code != 0 && last != 0:
		return fmt.Sprintf("a client sent %s, and it ended with exit code %d", signalName(last), d.code)
	}
	return ""
}

func (d *death) outOfMemory() string {
	if d.limit > 0 {
		return "out of memory: it reached its limit of " + units.BytesSize(float64(d.limit))
	}
	return "out of memory: the host had none left"
}

// byClient says which signals of clients ended it.
func (d *death) byClient(by int) string {
	if n := len(d.sent); by == sigKill && n > 1 && d.sent[n-2] != sigKill {
		return "killed by a client: it had not ended on " + signalName(d.sent[n-2])
	}
	if by == sigKill {
		return "killed by a client"
	}
	return "a client sent " + signalName(by)
}

// faults are the signals that the kernel sends for what a program does.
var faults = map[int]string{
	4: ": an instruction that this processor does not have", 5: ": a trap that no debugger took", 6: ": it aborted itself",
	7: ": memory that is mapped but not there", 8: ": a wrong calculation, as a division by zero", 11: ": memory that is not its own",
	13: ": it wrote to a pipe that nobody reads", 24: ": its limit of CPU time", 25: ": its limit of file size",
	31: ": a system call that is forbidden to it",
}

var signalNames = strings.Fields("HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS")

func signalName(n int) string {
	if n >= 1 && n <= len(signalNames) {
		return "SIG" + signalNames[n-1]
	}
	return fmt.Sprintf("signal %d", n)
}

// whyNot says why a start failed.
func whyNot(err error) string {
	text := err.Error()
	for _, prefix := range []string{runPrefix, specPrefix} {
		text = strings.TrimPrefix(text, prefix)
	}
	if hint := api.StartHint(text); hint != "" {
		text += " (" + hint + ")"
	}
	return "it did not start: " + text
}

// signals is what clients sent to the present run, and who watches its memory. The
// container's state lock guards it.
type signals struct {
	c     *container
	sent  []int
	oom   bool // that it ran out of memory was told
	older bool // the run began under an earlier engine
	watch context.CancelFunc
}

const signalsKept = 8

// note adds a signal that a client sent.
func (g *signals) note(number int) {
	if len(g.sent) == signalsKept {
		g.sent = append(g.sent[:0], g.sent[1:]...)
	}
	g.sent = append(g.sent, number)
}

// begin forgets what was of an earlier run, and has the memory of this one watched, if it is limited.
func (g *signals) begin(n *snapshot) {
	g.stop()
	g.sent, g.oom, g.older = nil, n.OOMKilled, false
	g.attend(n)
}

// attend has the memory of the present run watched, if it is limited and nobody does yet.
func (g *signals) attend(n *snapshot) {
	if n.Host.Memory <= 0 || g.watch != nil || !n.phase.alive() {
		return
	}
	cs, path, told := g.c.cs, g.c.cs.cgroup(n.record), n.OOMKilled
	ctx, cancel := context.WithCancel(cs.alarms.life)
	g.watch = cancel
	of := n.exits
	cs.work.Go(func() {
		err := cs.Groups.WatchOOM(ctx, path, told, func() { g.killed(of) })
		complain("watch the memory", g.c.id, err)
	})
}

// killed notes that the kernel killed a process for want of memory, in the run after so many exits.
func (g *signals) killed(of int) {
	g.c.state.Lock()
	defer g.c.state.Unlock()
	if n := g.c.now(); !n.phase.alive() || n.exits != of {
		return
	}
	g.oom = true
	_, err := g.c.replace(true, func(n *snapshot) error {
		n.OOMKilled = true
		return nil
	}, func(n *snapshot) { g.c.cs.publish(n, "oom") })
	complain("save that memory ran out", g.c.id, err)
}

func (g *signals) stop() {
	if g.watch != nil {
		g.watch()
		g.watch = nil
	}
}

// ended notes an exit: the reason, and whether there was an end of memory that nobody told yet.
func (g *signals) ended(n *snapshot, e task.Exit) (oom bool) {
	g.stop()
	oom = e.OOMKilled && !g.oom
	n.OOMKilled = e.OOMKilled || n.OOMKilled
	d := death{code: e.Code, signal: e.Signal, unknown: e.Unknown, oom: n.OOMKilled, limit: n.Host.Memory, sent: g.sent, older: g.older}
	n.Reason = d.why()
	return oom
}
