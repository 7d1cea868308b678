package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

const masterKeySize = 32

// key returns the master key. If there is none and create is true, it makes
// one.
func (v *vault) key(ctx context.Context, create bool) (cipher.AEAD, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.master != nil {
		return v.master, nil
	}
	key, err := readMasterKey(v.keyFile)
	if errors.Is(err, fs.ErrNotExist) && create {
		// The key must be on the disk, under its name, before anything is
		// sealed with it.
		err = publish(ctx, v.keyFile, false, func(f *os.File) error {
			_, err := fmt.Fprintf(f, "%x\n", newMasterKey())
			return err
		})
		if err == nil || errors.Is(err, fs.ErrExist) { // another process was faster
			key, err = readMasterKey(v.keyFile)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("it is encrypted, and the master key %s is missing: put the file back, or restore a backup into a new database (tomo init)", v.keyFile)
	}
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	v.master = newMaster(key)
	return v.master, nil
}

// useKey sets a master key that is in no file, for a store without sealed
// values.
func (v *vault) useKey(key []byte) {
	v.keyFile, v.master, v.proven = "(in no file)", newMaster(key), true
}

func newMasterKey() []byte {
	key := make([]byte, masterKeySize)
	rand.Read(key) // never fails
	return key
}

// readMasterKey reads the key, one line of hexadecimal digits.
func readMasterKey(name string) ([]byte, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != masterKeySize { // the error would quote the file
		return nil, fmt.Errorf("%s: not %d bytes in hexadecimal digits: put back the file that belongs to this database", name, masterKeySize)
	}
	return key, nil
}

// newMaster makes the cipher: AES-256-GCM with a random nonce before each
// ciphertext.
func newMaster(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the key has the wrong size
	}
	master, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // the block size of AES fits
	}
	return master
}
