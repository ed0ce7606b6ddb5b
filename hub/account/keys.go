package account

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"sync"
	"time"

	"lighter/hub/meta"
)

// Bearer tokens are signed with a key that is in the database, so that several hubs take
// each other's. It is changed every few months, and when the operator says so: what the
// old one signed is good until it ends, minutes later, unless the old one is out.

const (
	keyName     = "token key"
	keyBefore   = "token key before" // created is when it was the key no longer
	keyLife     = 90 * 24 * time.Hour
	keyOverlap  = bearerLife + time.Minute
	keyPatience = 5 * time.Second // for how long the database is not asked which key it is
)

// Keys are what tokens are signed with and what those are that are good.
type Keys struct {
	a      *Accounts
	mu     sync.Mutex
	looked time.Time
	seed   string // of sign
	sign   ed25519.PrivateKey
	public []ed25519.PublicKey
}

// newSeed gives a key as the database keeps it.
func newSeed() string {
	seed := make([]byte, ed25519.SeedSize)
	rand.Read(seed)
	return hex.EncodeToString(seed)
}

// startKeys makes the first key.
func (k *Keys) start(ctx context.Context) error {
	_, err := k.a.db.Exec(ctx, `INSERT INTO secrets (name, value, created) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING`,
		keyName, newSeed(), meta.Micros(time.Now()))
	return err
}

// Check refuses a key that cannot be used, before anybody waits for a token.
func (k *Keys) Check(ctx context.Context) error {
	_, _, err := k.signing(ctx, 0)
	return err
}

// signing gives the key to sign with and those whose tokens are good, as they were at most
// so long ago.
func (k *Keys) signing(ctx context.Context, old time.Duration) (ed25519.PrivateKey, []ed25519.PublicKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	if now.Sub(k.looked) < old {
		return k.sign, k.public, nil
	}
	rows, err := list(ctx, k.a.db, func(scan func(...any) error) (r [2]string, err error) {
		return r, scan(&r[0], &r[1])
	}, `SELECT name, value FROM secrets WHERE name = ? OR name = ? AND created > ? ORDER BY name`, keyName, keyBefore, meta.Micros(now.Add(-keyOverlap)))
	if err != nil {
		return nil, nil, err
	}
	k.public = nil
	for _, r := range rows {
		seed, err := hex.DecodeString(r[1])
		if err != nil || len(seed) != ed25519.SeedSize {
			return nil, nil, errors.New("the key that signs tokens cannot be read: make another one with `lighterhub key rotate --now`")
		}
		private := ed25519.NewKeyFromSeed(seed)
		k.public = append(k.public, private.Public().(ed25519.PublicKey))
		if r[0] != keyName {
			continue
		}
		if k.seed != r[1] {
			k.a.good.forget() // what an old key signed is looked at again
		}
		k.seed, k.sign = r[1], private
	}
	if k.sign == nil {
		return nil, nil, errors.New("the key that signs tokens is gone: start the hub anew")
	}
	k.looked = now
	return k.sign, k.public, nil
}

// Rotate makes another key for bearer tokens. What the old one signed is void at once
// with out, which is for one that others may know; else it is good until it ends.
func (k *Keys) Rotate(ctx context.Context, by Identity, out bool) error {
	if !by.shell {
		return forbidden("only the operator of the hub changes its key")
	}
	return k.rotate(ctx, by, out, time.Now())
}

// rotate replaces a key that was made before a time.
func (k *Keys) rotate(ctx context.Context, by Identity, out bool, before time.Time) error {
	now := meta.Micros(time.Now())
	return k.a.db.Update(ctx, func(tx *meta.Tx) error {
		var was string
		err := tx.QueryRow(ctx, `SELECT value FROM secrets WHERE name = ? AND created <= ?`, keyName, meta.Micros(before)).Scan(&was)
		if errors.Is(err, meta.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		detail := "what the old key signed is good until it ends"
		if out {
			detail = "what the old key signed is void"
			_, err = tx.Exec(ctx, `DELETE FROM secrets WHERE name = ?`, keyBefore)
		} else {
			_, err = tx.Exec(ctx, `INSERT INTO secrets (name, value, created) VALUES (?, ?, ?)
				ON CONFLICT (name) DO UPDATE SET value = excluded.value, created = excluded.created`, keyBefore, was, now)
		}
		if err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `UPDATE secrets SET value = ?, created = ? WHERE name = ? AND value = ?`, newSeed(), now, keyName, was)
		if err != nil || n == 0 {
			return errors.Join(err, errors.New("another hub changed the key at this moment"))
		}
		return note(ctx, tx, by, "", "key.rotate", detail)
	})
}
