package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"lighter/hub/account"
)

func token(ctx context.Context, args []string, o streams) error {
	return dispatch(ctx, "token", []sub{
		{"add", "USER TITLE", "Make an access token for a user, and print its secret, which is kept nowhere", 2, 2, false, func(f *flagSet) {
			f.StringArrayVar(&f.scopes, "scope", nil, "LEVEL or LEVEL:PATTERN that it is good for: read, write or delete; a name, NAME/* or * (needed)")
			f.DurationVar(&f.life, "expires", 0, "How long it is good, such as 720h; 0 for ever")
		}, tokenAdd},
		{"list", "USER", "List a user's access tokens", 1, 1, false, nil, tokenList},
		{"rm", "USER ID", "Make an access token void", 2, 2, false, nil, func(c call) error {
			return c.acc.Tokens.RemoveOf(c.ctx, account.Shell(), c.args[0], c.args[1])
		}},
	}, args, o)
}

func tokenAdd(c call) error {
	if len(c.scopes) == 0 {
		return misuse{errors.New("--scope says what the token is good for, such as read:team/*")}
	}
	scopes, err := account.ParseScopes(c.scopes)
	if err != nil {
		return misuse{err}
	}
	var end time.Time
	switch {
	case c.life < 0:
		return misuse{errors.New("--expires is in the past")}
	case c.life > 0:
		end = time.Now().Add(c.life)
	}
	secret, _, err := c.acc.Tokens.CreateFor(c.ctx, account.Shell(), c.args[0], c.args[1], scopes, end)
	if err == nil {
		_, err = fmt.Fprintln(c.o.out, secret)
	}
	return err
}

func tokenList(c call) error {
	if _, err := c.acc.Users.Get(c.ctx, c.args[0]); err != nil {
		return err
	}
	all, err := c.acc.Tokens.ListOf(c.ctx, account.Shell(), c.args[0])
	if err != nil {
		return err
	}
	rows := [][]string{{"ID", "TITLE", "GOOD FOR", "CREATED", "ENDS", "USED"}}
	for _, one := range all {
		var scopes []string
		for _, s := range one.Scopes {
			scopes = append(scopes, s.String())
		}
		ends, used := "never", "never"
		if !one.Expires.IsZero() {
			ends = day(one.Expires)
		}
		if !one.Used.IsZero() {
			used = day(one.Used)
		}
		rows = append(rows, []string{one.ID, one.Title, strings.Join(scopes, " "), day(one.Created), ends, used})
	}
	return c.table(rows)
}

func key(ctx context.Context, args []string, o streams) error {
	return dispatch(ctx, "key", []sub{
		{"rotate", "", "Sign log-ins with another key; what the old one signed stays good until it ends, five minutes later", 0, 0, false, func(f *flagSet) {
			f.BoolVar(&f.out, "now", false, "The old key is out: what it signed is void at once")
		}, func(c call) error {
			return c.acc.Keys.Rotate(c.ctx, account.Shell(), c.out)
		}},
	}, args, o)
}
