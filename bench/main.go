// Command bench times lighter beside another engine on the same machine, in one
// run and in turn, and prints medians and ratios: `make bench PEER=unix://…`.
//
// It is no test: it judges nothing, it prints the goal beside the figure. Both
// engines are driven as a user would, by whole commands.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// figure is one row's outcome; times are seconds.
type figure struct {
	Row    string
	Ours   spread
	Peer   spread  `json:",omitzero"`
	Ratio  float64 `json:",omitempty"` // the peer's median over ours
	Goal   float64 `json:",omitempty"`
	Detail string  `json:",omitempty"`
}

// spread is what several runs took, in seconds.
type spread struct{ Min, Median, Max float64 }

func main() {
	peer := flag.String("peer", os.Getenv("PEER"), "the other engine's socket, unix://…; none measures ours alone")
	bin := flag.String("bin", "bin", "folder of lighter and lighterd")
	cache := flag.String("cache", "/var/tmp/lighter-cache", "folder where the Debian root filesystem is kept between runs")
	only := flag.String("only", "", "comma-separated parts of row names")
	scale := flag.Float64("scale", 1, "multiplies the number of runs")
	asJSON := flag.Bool("json", false, "print the figures as JSON")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	figures, err := measure(ctx, *peer, *bin, *cache, *only, *scale)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if *asJSON {
		json.NewEncoder(os.Stdout).Encode(figures)
		return
	}
	show(figures)
}

// measure starts an engine of ours in a root of its own, runs the rows, and takes it down.
func measure(ctx context.Context, peer, bin, cache, only string, scale float64) ([]figure, error) {
	figures, err := hubFigures(ctx, bin, cache, only, scale)
	if err != nil {
		return figures, err
	}
	inputs, err := makeInputs(cache)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(cache, "bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	ours, err := startOurs(ctx, bin, dir)
	if err != nil {
		return nil, err
	}
	defer ours.stop()
	engines := []*engine{ours}
	if peer != "" {
		engines = append(engines, &engine{name: "peer", cli: []string{"docker", "-H", peer}, stderr: ours.stderr})
	}
	for _, e := range engines {
		e.in, e.dir = inputs, filepath.Join(dir, "work-"+e.name)
		if err := os.MkdirAll(e.dir, 0o755); err != nil {
			return nil, err
		}
		if err := e.run(ctx, "import", "-c", `CMD ["sh"]`, inputs.busybox, "bench:busybox"); err != nil {
			return nil, err
		}
		defer e.clean()
	}
	for _, r := range slices.Concat(rows, manyRows, fileRows, networkRows, registryRows, buildRows) {
		if !wanted(r.name, only) {
			continue
		}
		f, err := r.measure(ctx, engines, scale)
		if err != nil {
			return figures, fmt.Errorf("%s: %w", r.name, err)
		}
		figures = append(figures, f)
		fmt.Fprintf(os.Stderr, "%s: %.2f ms\n", r.name, f.Ours.Median*1000)
	}
	if wanted("memory", only) {
		m, err := memory(ctx, ours)
		if err != nil {
			return figures, err
		}
		figures = append(figures, m...)
	}
	for _, network := range []string{"none", "host", "bridge"} {
		if !wanted("1000 running, --network "+network, only) {
			continue
		}
		m, err := thousand(ctx, ours, network)
		if err != nil {
			return figures, err
		}
		figures = append(figures, m...)
	}
	return figures, nil
}

func wanted(name, only string) bool {
	return only == "" || slices.ContainsFunc(strings.Split(only, ","), func(part string) bool { return strings.Contains(name, part) })
}

// row is one thing that both engines do. Its once is what is timed.
type row struct {
	name    string
	goal    float64 // the ratio that is aimed at
	runs    int
	prepare func(context.Context, *engine) error
	before  func(context.Context, *engine) error // each run, not timed
	once    func(context.Context, *engine) error
	after   func(context.Context, *engine) error // at the end
	alone   bool                                 // ours only: a limit or a cost without a peer
}

func (r row) measure(ctx context.Context, engines []*engine, scale float64) (figure, error) {
	if r.alone {
		engines = engines[:1]
	}
	for _, e := range engines {
		if r.prepare != nil {
			if err := r.prepare(ctx, e); err != nil {
				return figure{}, err
			}
		}
	}
	times := make([][]float64, len(engines))
	runs := max(3, int(float64(r.runs)*scale))
	// Turns of a few runs each, the first not counted: what one engine still tidies up
	// after an answer, and the caches that it left, are not to be the other's cost.
	const turn = 6
	for done := 0; done < runs; done += turn - 1 {
		for j, e := range engines {
			for i := range min(turn, runs-done+1) {
				took, err := r.time(ctx, e)
				if err != nil {
					return figure{}, fmt.Errorf("%s: %w", e.name, err)
				}
				if i > 0 {
					times[j] = append(times[j], took)
				}
			}
		}
	}
	for _, e := range engines {
		if r.after != nil {
			if err := r.after(ctx, e); err != nil {
				return figure{}, err
			}
		}
	}
	f := figure{Row: r.name, Ours: spreadOf(times[0]), Goal: r.goal}
	if len(times) > 1 {
		f.Peer = spreadOf(times[1])
		f.Ratio = f.Peer.Median / f.Ours.Median
	}
	return f, nil
}

// time runs the row once, and gives the seconds that it took.
func (r row) time(ctx context.Context, e *engine) (float64, error) {
	if r.before != nil {
		if err := r.before(ctx, e); err != nil {
			return 0, err
		}
	}
	began := time.Now()
	err := r.once(ctx, e)
	return time.Since(began).Seconds(), err
}

func spreadOf(times []float64) spread {
	slices.Sort(times)
	n := len(times)
	return spread{times[0], (times[n/2] + times[(n-1)/2]) / 2, times[n-1]}
}

func show(figures []figure) {
	w := tabwriter.NewWriter(os.Stdout, 0, 1, 2, ' ', 0)
	fmt.Fprintln(w, "ROW\tOURS\t(MIN-MAX)\tPEER\tRATIO\tGOAL\t")
	ms := func(s float64) string { return fmt.Sprintf("%.2f ms", s*1000) }
	for _, f := range figures {
		if f.Detail != "" {
			fmt.Fprintf(w, "%s\t%s\t\t\t\t\t\n", f.Row, f.Detail)
			continue
		}
		peer, ratio, goal := "", "", ""
		if f.Ratio > 0 {
			peer, ratio = ms(f.Peer.Median), fmt.Sprintf("%.1f", f.Ratio)
		}
		if f.Goal > 0 {
			goal = fmt.Sprintf("%g", f.Goal)
		}
		fmt.Fprintf(w, "%s\t%s\t(%s-%s)\t%s\t%s\t%s\t\n", f.Row, ms(f.Ours.Median), ms(f.Ours.Min), ms(f.Ours.Max), peer, ratio, goal)
	}
	w.Flush()
}

// engine is one side: a command line, and what the rows need beside it.
type engine struct {
	name string
	cli  []string
	env  []string
	dir  string // scratch

	stderr *os.File // what all commands print there
	in     *inputs
	pids   []int // ours: the engine and its keeper

	classic bool // that its classic builder is the faster one

	registry *exec.Cmd // a docker-registry that it reaches; nil for none
	stop     func()
}

func (e *engine) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, e.cli[0], append(slices.Clone(e.cli[1:]), args...)...)
	cmd.Env = append(os.Environ(), e.env...)
	return cmd
}

// run runs one command; what it prints is thrown away. Nothing of ours runs beside it,
// no pipe and no goroutine: on two cores they would be part of what is measured.
func (e *engine) run(ctx context.Context, args ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	cmd := exec.Command(e.cli[0], append(slices.Clone(e.cli[1:]), args...)...)
	cmd.Env = append(os.Environ(), e.env...)
	cmd.Stderr = e.stderr
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(e.stderr.Name())
		return fmt.Errorf("%s %s: %w: %s", e.name, strings.Join(args, " "), err, strings.TrimSpace(string(text)))
	}
	return nil
}

func (e *engine) output(ctx context.Context, args ...string) (string, error) {
	out, err := e.command(ctx, args...).Output()
	return strings.TrimSpace(string(out)), err
}

// clean removes what the rows made, so that the peer is left as it was.
func (e *engine) clean() {
	ctx := context.Background()
	if ids, _ := e.output(ctx, "ps", "-aq", "--filter", "name=bench-"); ids != "" {
		e.run(ctx, append([]string{"rm", "-f"}, strings.Fields(ids)...)...)
	}
	if name, _ := e.output(ctx, "network", "ls", "-q", "--filter", "name=bench-net"); name != "" {
		e.run(ctx, "network", "rm", "bench-net")
	}
	for _, pattern := range []string{"bench", registryAddr + "/bench/*"} {
		if ids, _ := e.output(ctx, "images", "-q", pattern); ids != "" {
			e.run(ctx, append([]string{"rmi", "-f"}, slices.Compact(strings.Fields(ids))...)...)
		}
	}
}

// startOurs starts lighterd in a root of its own under dir.
func startOurs(ctx context.Context, bin, dir string) (*engine, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	host := "unix://" + filepath.Join(dir, "lighter.sock")
	log, err := os.Create(filepath.Join(dir, "lighterd.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	stderr, err := os.OpenFile(filepath.Join(dir, "stderr"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	// In a network namespace of its own: the peer's bridges, rules and policies are neither
	// in its way nor in ours.
	alone := `busybox ip link set lo up && exec "$@"`
	cmd := exec.Command("unshare", "--net", "sh", "-c", alone, "sh", filepath.Join(bin, "lighterd"), "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "run"), "-H", host)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	e := &engine{stderr: stderr, name: "ours", cli: []string{filepath.Join(bin, "lighter")}, env: []string{"LIGHTER_HOST=" + host}, pids: []int{cmd.Process.Pid}}
	e.stop = func() {
		e.clean()
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	}
	for deadline := time.Now().Add(10 * time.Second); e.run(ctx, "version") != nil; {
		if time.Now().After(deadline) {
			cmd.Process.Kill()
			text, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("lighterd does not answer: %s", text)
		}
	}
	return e, nil
}
