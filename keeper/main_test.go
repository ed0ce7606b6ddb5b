package keeper

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"lighter/linux/proc"
	"lighter/task"
)

// The test binary is also the keeper, an engine, and the program in a container.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "keeper":
			var how launcher = plain{}
			if os.Getenv("KEEPER_TEST_RUNTIME") != "" {
				how = containers{}
			}
			os.Exit(run(os.Args[2:], how))
		case "engine":
			os.Exit(engineMain(os.Args[2]))
		case "printer":
			os.Exit(printerMain(os.Args[2:]))
		}
	}
	os.Exit(m.Run())
}

// plain starts processes without containers.
type plain struct{}

func (plain) start(_ context.Context, req *parcel, _ roots, e ends) (*child, error) {
	return plainStart(req.Spec.Process.Args, req.Stdio, e)
}

func (plain) exec(_ context.Context, _ *process, req *parcel, e ends) (*child, error) {
	return plainStart(req.Process.Args, req.Stdio, e)
}

func plainStart(args []string, stdio *task.Stdio, e ends) (*child, error) {
	c := &child{}
	if stdio.Terminal {
		pts, err := os.Open("/dev/pts")
		if err != nil {
			return nil, err
		}
		defer pts.Close()
		master, slave, err := proc.Terminals(pts)
		if err != nil {
			return nil, err
		}
		defer slave.Close()
		c.console = master
		e = ends{slave, slave, slave}
	}
	if e.stdin == nil {
		null, err := os.Open(os.DevNull)
		if err != nil {
			return nil, err
		}
		defer null.Close()
		e.stdin = null
	}
	p, err := proc.Spawn(args[0], args, []string{"PATH=/usr/bin:/bin"}, []*os.File{e.stdin, e.stdout, e.stderr})
	if err != nil {
		return nil, task.StartErrorf(127, "exec: %q: executable file not found in $PATH", args[0])
	}
	c.pid = p.Pid
	c.pidfd, err = proc.OpenPid(p.Pid)
	p.Release()
	return c, err
}

// printerMain prints numbered lines to both streams: count, seed, exit code. Lines
// are of all lengths, some without pause and some with, some written in pieces.
func printerMain(args []string) int {
	count, _ := strconv.Atoi(args[0])
	seed, _ := strconv.ParseUint(args[1], 10, 64)
	code, _ := strconv.Atoi(args[2])
	r := rand.New(rand.NewPCG(seed, 1))
	out := [2]*bufio.Writer{bufio.NewWriterSize(os.Stdout, 32<<10), bufio.NewWriterSize(os.Stderr, 32<<10)}
	for i := range count {
		w := out[i%2]
		w.WriteString(printed(r, i))
		if r.IntN(20) == 0 {
			w.Flush()
		}
		if r.IntN(100) == 0 {
			out[0].Flush()
			out[1].Flush()
			time.Sleep(time.Duration(r.IntN(int(5 * time.Millisecond))))
		}
	}
	out[0].Flush()
	out[1].Flush()
	return code
}

// printed is line i: its number, and filling that depends on r.
func printed(r *rand.Rand, i int) string {
	n := r.IntN(120)
	if r.IntN(200) == 0 {
		n = r.IntN(40000)
	}
	return strconv.Itoa(i) + " " + strings.Repeat(string(rune('a'+i%26)), n) + "\n"
}

// command is what a test tells its engine; answer what that says.
type command struct {
	Launch *task.Launch
	Exec   *task.Exec
	Args   []string
}

type answer struct {
	Pid int
	Err string
}

// engineMain is an engine of its own process: it obeys commands on stdin, and writes
// exits to a file, as the true one saves them.
func engineMain(root string) int {
	exits, err := os.OpenFile(root+"/noted", os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		panic(err)
	}
	self, _ := os.Executable()
	ctx := context.Background()
	c, err := Start(ctx, Config{
		Lighter: self, ExecRoot: root,
		OnExit: func(e task.Exit) func() error {
			b, _ := json.Marshal(e)
			return func() error { _, err := exits.Write(append(b, '\n')); return err }
		},
		Warn: func(err error) { fmt.Fprintln(os.Stderr, "engine:", err) },
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	enc, dec := json.NewEncoder(os.Stdout), json.NewDecoder(os.Stdin)
	enc.Encode(answer{})
	for {
		var cmd command
		if dec.Decode(&cmd) != nil {
			c.Close()
			return 0
		}
		var a answer
		var started task.Started
		switch {
		case cmd.Launch != nil:
			started, err = c.Launch(ctx, *cmd.Launch)
		case cmd.Exec != nil:
			started, err = c.Exec(ctx, *cmd.Exec)
		}
		a.Pid = started.Pid
		if err != nil {
			a.Err = err.Error()
		}
		enc.Encode(a)
	}
}
