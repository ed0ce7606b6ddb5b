// Command lighter is the command line. By its first argument it is also the keeper,
// which holds containers' processes, and an OCI runtime.
//
// All wiring of the program is here; nothing heavy may come into its import closure
// (startup_test.go), as every command pays for it.
package main

import (
	"context"
	"os"

	"lighter/cli"
	"lighter/keeper"
	"lighter/linux/fs"
	"lighter/runtime/oci"
	"lighter/warden"
)

func main() {
	roomy(false)
	os.Exit(run())
}

// roomy has a frame larger than any command's frames together: calling it first, while
// there is nothing to move, makes the stack grow once instead of four times on the way
// (0.1 ms of 2). It never touches the frame.
//
//go:noinline
func roomy(touch bool) byte {
	if !touch {
		return 0
	}
	var frame [40 << 10]byte
	for i := range frame {
		frame[i] = os.Args[0][0]
	}
	return frame[len(os.Args)]
}

func run() int {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "keeper":
			return keeper.Main(os.Args[2:])
		case "warden":
			return warden.Main(os.Args[2:])
		case "oci":
			return oci.Main(context.Background(), os.Args[2:], oci.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
		}
	}
	return cli.Main(context.Background(), cli.Config{
		Args: os.Args,
		In:   os.Stdin, Out: os.Stdout, Err: os.Stderr,
		Interrupt:   cli.Interrupt,
		StartEngine: startEngine,
		MakeNode:    fs.Mknodat,
		SendFile:    fs.SendFile,
		LendFile:    fs.LendFile,
		Whole:       whole,
	})
}
