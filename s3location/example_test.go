package s3location_test

import (
	"context"
	"log"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/s3location"
)

// A Manager keeps its backups in a folder and in a bucket of a service of one's
// own. For S3 itself config.LoadDefaultConfig and s3.NewFromConfig make the client.
func Example() {
	client := s3.New(s3.Options{
		BaseEndpoint: aws.String("https://s3.example.org"),
		UsePathStyle: true,
		Region:       "us-east-1",
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: os.Getenv("BACKUP_S3_ACCESS_KEY"), SecretAccessKey: os.Getenv("BACKUP_S3_SECRET_KEY")}, nil
		}),
	})
	var m manager.Manager // with an App, a Source and a Sink
	m.Locations = []location.Location{
		location.Dir("/var/lib/tomo/backups"),
		&s3location.Location{Client: client, Bucket: "example-backups", Prefix: "tomo"},
	}
	b, err := m.Create(context.Background(), backup.BackupOptions{})
	if err != nil {
		log.Fatal(err)
	}
	log.Print(b.Name)
}
