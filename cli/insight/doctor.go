package insight

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"lighter/cli"
)

// Level is how much a finding matters.
type Level int

// The levels: as it should be; something will not work; nothing will.
const (
	Good Level = iota
	Weak
	Bad
)

// Finding is one thing that doctor looked at.
type Finding struct {
	Level Level
	About string // a word: kernel, disk, …
	Text  string // what there is
	Do    string // what to do about it; empty when it is good
}

// doctor tells what lighter needs, what of it this machine has, and what to do. It needs no engine.
func doctor(ctx context.Context, a *cli.App, look func(context.Context) []Finding) error {
	list := append(look(ctx), engine(ctx, a)...)
	var text bytes.Buffer
	p, w := painter(a.Out), width(a.Out)
	counts := [3]int{}
	for _, f := range list {
		counts[f.Level]++
		mark := [...]string{p.green("ok  "), p.yellow("weak"), p.red("bad ")}[f.Level]
		fold(&text, fmt.Sprintf("%s  %-9s ", mark, f.About), 16, w, f.Text)
		if f.Do != "" {
			fold(&text, strings.Repeat(" ", 16)+p.yellow("hint: "), 22, w, f.Do)
		}
	}
	fmt.Fprintf(&text, "\n%d good, %d weak, %d bad\n", counts[Good], counts[Weak], counts[Bad])
	if _, err := a.Out.Write(text.Bytes()); err != nil {
		return err
	}
	if counts[Bad] > 0 {
		return cli.Exit(1)
	}
	return nil
}

// mostApart is how far the engine's clock may be from ours before it matters: to logs, to
// --since, to certificates.
const mostApart = 5 * time.Second

// engine looks at the engine, as its clients see it.
func engine(ctx context.Context, a *cli.App) (list []Finding) {
	c, err := a.Client()
	if err != nil {
		return []Finding{{Bad, "engine", err.Error(), "name it with --host, or LIGHTER_HOST"}}
	}
	ctx, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	info, err := c.System().Info(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return []Finding{{Bad, "engine", "it listens on " + c.Host() + ", and does not answer within 10 seconds", "its log tells more; kill -QUIT has it write what it is doing"}}
	}
	if err != nil {
		return []Finding{{Weak, "engine", err.Error(), "start it: systemctl start lighterd, or any command as root"}}
	}
	list = append(list, Finding{Good, "engine", fmt.Sprintf("answers on %s: %d containers, of which %d run, and %d images in %s", c.Host(), info.Containers, info.ContainersRunning, info.Images, info.DockerRootDir), ""})
	if at, err := time.Parse(time.RFC3339Nano, info.SystemTime); err == nil {
		if apart := time.Since(at).Abs(); apart > mostApart {
			list = append(list, Finding{Weak, "time", fmt.Sprintf("the engine's clock is %s from this one", apart.Round(time.Second)), "set both by NTP"})
		}
	}
	for _, warning := range info.Warnings {
		list = append(list, Finding{Weak, "engine", strings.TrimPrefix(warning, "WARNING: "), "the engine says so: see docs/troubleshooting.md"})
	}
	return list
}
