package sqlstore

import (
	"slices"
	"strings"
)

// migrationTables are the tables in which migration tools note what they have done, in
// lower case. A name that a table of a host may have too, such as migrations, is not here.
var migrationTables = []string{
	"goose_db_version",                      // goose
	"schema_migrations",                     // golang-migrate, dbmate, Rails, Ecto
	"atlas_schema_revisions",                // Atlas
	"bun_migrations", "bun_migration_locks", // bun
	"gorp_migrations",                            // sql-migrate
	"gopg_migrations",                            // go-pg
	"schema_version",                             // tern, old Flyway
	"flyway_schema_history",                      // Flyway
	"databasechangelog", "databasechangeloglock", // Liquibase
	"river_migration",                         // River
	"_migrations",                             // PocketBase
	"_prisma_migrations",                      // Prisma
	"__drizzle_migrations",                    // Drizzle
	"knex_migrations", "knex_migrations_lock", // Knex
	"kysely_migration", "kysely_migration_lock", // Kysely
	"sequelizemeta",               // Sequelize
	"django_migrations",           // Django
	"alembic_version",             // Alembic
	"__diesel_schema_migrations",  // Diesel
	"_sqlx_migrations",            // SQLx
	"refinery_schema_history",     // Refinery
	"seaql_migrations",            // SeaORM
	"__efmigrationshistory",       // Entity Framework
	"ar_internal_metadata",        // Rails
	"phinxlog",                    // Phinx
	"doctrine_migration_versions", // Doctrine
}

// isOfMigrations tells whether a table of that name, which may have a schema before it,
// belongs to a migration tool.
func isOfMigrations(name string) bool {
	return slices.ContainsFunc(readings(name), func(r [2]string) bool { return slices.Contains(migrationTables, strings.ToLower(r[1])) })
}
