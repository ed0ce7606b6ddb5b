package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"lighter/hub/account"
)

func user(ctx context.Context, args []string, o streams) error {
	stdin := func(f *flagSet) {
		f.BoolVar(&f.stdin, "password-stdin", false, "Read the password from standard input, not from the terminal")
	}
	return dispatch(ctx, "user", []sub{
		{"add", "NAME", "Make an account", 1, 1, true, stdin, userAdd},
		{"list", "", "List all accounts", 0, 0, false, nil, userList},
		{"passwd", "NAME", "Set a password; the user's sessions and log-ins end", 1, 1, false, stdin, userPasswd},
		{"rm", "NAME", "Remove an account that owns no repositories", 1, 1, false, nil, func(c call) error {
			return c.acc.Users.Remove(c.ctx, account.Shell(), c.args[0], "")
		}},
	}, args, o)
}

func userAdd(c call) error {
	password, err := c.password()
	if err != nil {
		return err
	}
	return c.acc.Users.Add(c.ctx, account.Shell(), c.args[0], password)
}

func userPasswd(c call) error {
	if _, err := c.acc.Users.Get(c.ctx, c.args[0]); err != nil {
		return err
	}
	password, err := c.password()
	if err != nil {
		return err
	}
	return c.acc.Users.SetPassword(c.ctx, account.Shell(), c.args[0], "", password)
}

func userList(c call) error {
	all, err := c.acc.Users.List(c.ctx, account.Shell())
	if err != nil {
		return err
	}
	rows := [][]string{{"NAME", "CREATED", "CALLED"}}
	for _, one := range all {
		rows = append(rows, []string{one.Name, day(one.Created), one.Title})
	}
	return c.table(rows)
}

// password reads the new password. A weak one is the operator's choice, but is told.
func (c call) password() (string, error) {
	password, err := c.typed()
	if err != nil {
		return "", err
	}
	if weak := account.Weak(strings.ToLower(c.args[0]), password); weak != nil && password != "" {
		fmt.Fprintf(c.o.err, "WARNING: %v\n", weak)
	}
	return password, nil
}

func (c call) typed() (string, error) {
	if c.stdin {
		text, err := io.ReadAll(io.LimitReader(c.o.in, 4096))
		return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), err
	}
	f, ok := c.o.in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return "", misuse{errors.New("standard input is no terminal: give the password there with --password-stdin")}
	}
	var typed [2]string
	for i, prompt := range []string{"Password: ", "Once more: "} {
		fmt.Fprint(c.o.err, prompt)
		text, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(c.o.err)
		if err != nil {
			return "", err
		}
		typed[i] = string(text)
	}
	if typed[0] != typed[1] {
		return "", errors.New("the two are not the same")
	}
	return typed[0], nil
}
