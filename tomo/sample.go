package tomo

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/tomo-project/backup"
)

// Sample returns the made-up record number i, from 0, of a collection, for
// demos, tests and benchmarks. It is valid, about 250 bytes long, and always
// the same. Nothing in it is real: addresses are from the private ranges and
// the documentation domains, and no password belongs to the password hashes.
//
// A record refers only to servers, users and repositories with the same number
// or a lower one. So if N records of each collection are written in the order
// servers, repositories, applications, every reference is complete at every
// step.
//
// There are few settings. After the last setting, for a collection that Tomo
// does not have, and for a negative i, Sample returns the zero Record.
func Sample(collection string, i int) backup.Record {
	if i < 0 {
		return backup.Record{}
	}
	at := sampleTime.Add(time.Duration(i) * time.Minute).Format(time.RFC3339)
	var key, value string
	switch collection {
	case "servers":
		key = sampleID("server", i)
		jump := "null"
		if i%10 != 0 {
			jump = fmt.Sprintf("%q", sampleID("server", i-i%10))
		}
		value = fmt.Sprintf(`{"id":%q,"name":"node %d","host":"10.%d.%d.%d","port":22,"user":"tomo","auth_method":"password","password":"made-up-%07d","jump_server_id":%s,"tags":["rack-%d",%q],"created_at":%q}`,
			key, i, i>>16&255, i>>8&255, i&255, i, jump, i/10, pick(i, "production", "staging", "lab"), at)
	case "applications":
		key = sampleID("app", i)
		image := pick(i, "nextcloud", "jellyfin", "gitea", "vaultwarden")
		value = fmt.Sprintf(`{"id":%q,"name":"%s-%d","server_id":%q,"repository_id":%q,"compose":"services:\n  %s:\n    image: %s:1\n","env":{"TOKEN":"made-up-%07d"},"status":%q,"created_at":%q}`,
			key, image, i, sampleID("server", i), sampleID("repo", i), image, image, i, pick(i, "running", "running", "stopped"), at)
	case "settings":
		if i >= len(sampleSettings) {
			return backup.Record{}
		}
		key, value = sampleSettings[i][0], sampleSettings[i][1]
	case "users":
		key = sampleID("user", i)
		value = fmt.Sprintf(`{"id":%q,"username":"user-%d","email":"user-%d@example.org","password_hash":%q,"totp_secret":null,"role":%q,"disabled":false,"created_at":%q,"last_login":null}`,
			key, i, i, sampleHash, pick(i, "admin", "operator", "viewer"), at)
	case "preferences":
		key = sampleID("user", i)
		value = fmt.Sprintf(`{"user_id":%q,"theme":%q,"language":%q,"timezone":"Europe/Berlin","dashboard":{"layout":"grid","columns":%d,"widgets":[{"type":"servers","x":0,"y":0,"w":2,"h":1},{"type":"clock","x":2,"y":0}]},"updated_at":%q}`,
			key, pick(i, "dark", "light", "auto"), pick(i, "en", "de", "pt-BR"), 2+i%6, at)
	case "repositories":
		key = sampleID("repo", i)
		value = fmt.Sprintf(`{"id":%q,"name":"Repository %d","url":"https://git.example.org/store/%d.git","type":"git","branch":"main","enabled":%t,"token":"made-up-%07d","priority":%d,"last_sync":null,"created_at":%q}`,
			key, i, i, i%5 != 0, i, i%100, at)
	case "logs":
		key = fmt.Sprint(i + 1)
		value = fmt.Sprintf(`{"id":%s,"time":%q,"level":%q,"server_id":%q,"message":"container of application %d was restarted","fields":{"exit_code":%d,"container":"%012x","duration_ms":%d.5}}`,
			key, at, pick(i, "info", "info", "warn", "error"), sampleID("server", i), i, i%3, i, i%1000)
	default:
		return backup.Record{}
	}
	return backup.Record{Key: key, Value: json.RawMessage(value)}
}

var sampleTime = time.Date(2024, time.January, 15, 10, 30, 0, 0, time.UTC)

// sampleHash has the form of a bcrypt hash and was not made from a password.
const sampleHash = "$2b$12$tomo.sample.data.only.NotTheHashOfAnyPassword........"

var sampleSettings = [...][2]string{
	{"site_name", `"Tomo at home"`},
	{"theme", `"dark"`},
	{"language", `"en"`},
	{"timezone", `"Europe/Berlin"`},
	{"session_timeout", `720`},
	{"smtp_host", `"mail.example.org"`},
	{"smtp_port", `587`},
	{"smtp_user", `"tomo@example.org"`},
	{"smtp_password", `"made-up-password"`},
	{"smtp_tls", `"starttls"`},
	{"backup_enabled", `true`},
	{"backup_schedule", `"daily"`},
	{"backup_time", `"02:30"`},
	{"backup_keep_last", `7`},
	{"backup_keep_days", `30`},
	{"backup_dir", `null`},
}

func sampleID(kind string, i int) string { return fmt.Sprintf("%s-%07d", kind, i) }

func pick(i int, of ...string) string { return of[i%len(of)] }
