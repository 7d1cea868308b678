package backup_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	host "github.com/tomo-project/backup/internal/homelab"
)

func mHomelab() *backup.App { return host.App() }

func mHomelabStore() backuptest.MapStore { return host.Store() }

type mTestKey = host.Key

var mSealed = []backup.Recipient{mTestKey("k")}

func mList(name string) backup.Collection { return backup.Collection{Name: name, Key: "/id"} }

func mZone(t testing.TB, name string) *time.Location {
	loc, err := time.LoadLocation(name)
	require.NoError(t, err)
	return loc
}

type mSinkFunc func(ctx context.Context, write func(backup.Writer) error) error

func (f mSinkFunc) Update(ctx context.Context, write func(backup.Writer) error) error {
	return f(ctx, write)
}
