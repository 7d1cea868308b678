package codec

import (
	"fmt"
	"regexp"

	"github.com/tomo-project/backup/internal/fault"
)

// MaxSerial is the largest serial of a backup.
const MaxSerial = MaxInteger

var validInstallation = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// CheckInstallation refuses an id of an installation that the format does not allow
// (FORMAT.md, "Origin").
func CheckInstallation(id string) error {
	if !validInstallation.MatchString(id) {
		return fmt.Errorf("the id of the installation is %s: want 1 to 64 letters, digits, dots, dashes and underscores, beginning with a letter or digit", Quote(fault.Shorten(id)))
	}
	return nil
}

// CheckOrigin refuses an origin that the format does not allow.
func CheckOrigin(installation string, serial int64) error {
	if err := CheckInstallation(installation); err != nil {
		return err
	}
	if serial < 1 || serial > MaxSerial {
		return fmt.Errorf("the serial is %d: want 1 to %d", serial, int64(MaxSerial))
	}
	return nil
}
