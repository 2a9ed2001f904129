//! Plans: named bundles of apps. Who has an entitlement to a plan may do what its items allow, as they are at that moment.

use flatpass_token::{UnixTime, Verb};
use sqlx::Row as _;

use crate::apps::{AppPattern, is_branch};
use crate::backend::{Connection, Row};
use crate::entitlements::{verbs_from_text, verbs_to_text};
use crate::{PlanId, PlanItemId, Random, Store, StoreError, mark_changed, repos, shortened, time};

/// What a plan holds of one repo.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PlanItem {
    /// Its identifier.
    pub id: PlanItemId,
    /// In which repo.
    pub repo: String,
    /// For which app or apps.
    pub app: AppPattern,
    /// Only this branch; `None` is every branch.
    pub branch: Option<String>,
    /// What it allows.
    pub verbs: Vec<Verb>,
    /// Since when the plan has it.
    pub created_at: UnixTime,
}

/// What a plan shall hold.
#[derive(Clone, Debug)]
pub struct NewPlanItem {
    /// In which repo.
    pub repo: String,
    /// For which app or apps.
    pub app: AppPattern,
    /// Only this branch; `None` is every branch.
    pub branch: Option<String>,
    /// What it allows; none allows nothing.
    pub verbs: Vec<Verb>,
}

/// A plan with what it holds now.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Plan {
    /// Its identifier.
    pub id: PlanId,
    /// Its name, for commands.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// When it was made.
    pub created_at: UnixTime,
    /// What it holds, the oldest first. A plan without items gives nothing.
    pub items: Vec<PlanItem>,
}

fn item(row: &Row) -> Result<PlanItem, StoreError> {
    Ok(PlanItem {
        id: PlanItemId(row.try_get("id")?),
        repo: row.try_get("repo")?,
        app: row.try_get::<String, _>("app")?.parse().map_err(|_| StoreError::Corrupt("plan_items.app"))?,
        branch: row.try_get("branch")?,
        verbs: verbs_from_text(&row.try_get::<String, _>("verbs")?),
        created_at: time(row, "created_at")?,
    })
}

/// The id of the plan with this name.
pub(crate) async fn must_exist(connection: &mut Connection, name: &str) -> Result<PlanId, StoreError> {
    let row = sqlx::query("SELECT id FROM plans WHERE name = $1 AND removed_at IS NULL")
        .bind(name)
        .fetch_optional(connection)
        .await?
        .ok_or_else(|| StoreError::NoPlan(name.to_owned()))?;
    Ok(PlanId(row.try_get("id")?))
}

impl Store {
    /// Makes a plan that holds nothing yet. Without a title it is called by its name.
    ///
    /// # Errors
    /// [`StoreError::Name`], [`StoreError::PlanExists`].
    pub async fn add_plan(
        &self,
        name: &str,
        title: Option<&str>,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<Plan, StoreError> {
        if !repos::is_name(name) {
            return Err(StoreError::Name(name.to_owned()));
        }
        let title = shortened(title.map(str::trim).filter(|title| !title.is_empty()).unwrap_or(name), 100);
        let id = PlanId::random(rng);
        let mut transaction = self.begin().await?;
        sqlx::query("INSERT INTO plans (id, name, title, created_at) VALUES ($1, $2, $3, $4)")
            .bind(id.as_str())
            .bind(name)
            .bind(&title)
            .bind(now.0)
            .execute(&mut *transaction)
            .await
            .map_err(|error| match StoreError::is_conflict(&error) {
                true => StoreError::PlanExists(name.to_owned()),
                false => error.into(),
            })?;
        transaction.commit().await?;
        Ok(Plan { id, name: name.to_owned(), title, created_at: now, items: Vec::new() })
    }

    /// Removes a plan: what it gave to anybody ends now. A plan that is made later under this name is another one.
    ///
    /// # Errors
    /// [`StoreError::NoPlan`].
    pub async fn remove_plan(&self, name: &str, now: UnixTime) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let plan = must_exist(&mut transaction, name).await?;
        sqlx::query("UPDATE plans SET removed_at = $1 WHERE id = $2")
            .bind(now.0)
            .bind(plan.as_str())
            .execute(&mut *transaction)
            .await?;
        mark_changed(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// All plans, by name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn plans(&self) -> Result<Vec<Plan>, StoreError> {
        let rows = sqlx::query("SELECT * FROM plans WHERE removed_at IS NULL ORDER BY name")
            .fetch_all(self.read())
            .await?;
        let mut plans = Vec::new();
        for row in &rows {
            let id = PlanId(row.try_get("id")?);
            let items = sqlx::query(
                "SELECT * FROM plan_items WHERE plan_id = $1 AND removed_at IS NULL ORDER BY created_at, id",
            )
            .bind(id.as_str())
            .fetch_all(self.read())
            .await?;
            plans.push(Plan {
                id,
                name: row.try_get("name")?,
                title: row.try_get("title")?,
                created_at: time(row, "created_at")?,
                items: items.iter().map(item).collect::<Result<_, _>>()?,
            });
        }
        Ok(plans)
    }

    /// Puts apps into a plan. If it has the same apps and branch with other verbs, these verbs count from now on; with the same
    /// verbs, nothing changes.
    ///
    /// # Errors
    /// [`StoreError::NoPlan`], [`StoreError::NoRepo`], [`StoreError::Branch`].
    pub async fn include_in_plan(
        &self,
        plan: &str,
        new: NewPlanItem,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<PlanItem, StoreError> {
        if let Some(branch) = new.branch.as_ref().filter(|branch| !is_branch(branch)) {
            return Err(StoreError::Branch(branch.clone()));
        }
        let id = PlanItemId::random(rng);
        let mut transaction = self.begin().await?;
        let plan = must_exist(&mut transaction, plan).await?;
        repos::must_exist(&mut transaction, &new.repo).await?;
        let before = find(&mut transaction, &plan, &new.repo, &new.app, new.branch.as_deref()).await?;
        if let Some(before) = before {
            if verbs_to_text(&before.verbs) == verbs_to_text(&new.verbs) {
                return Ok(before);
            }
            end(&mut transaction, &before.id, now).await?;
        }
        let row = sqlx::query(
            "INSERT INTO plan_items (id, plan_id, repo, app, branch, verbs, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING *",
        )
        .bind(id.as_str())
        .bind(plan.as_str())
        .bind(&new.repo)
        .bind(new.app.to_string())
        .bind(new.branch)
        .bind(verbs_to_text(&new.verbs))
        .bind(now.0)
        .fetch_one(&mut *transaction)
        .await?;
        mark_changed(&mut transaction).await?;
        transaction.commit().await?;
        item(&row)
    }

    /// Takes apps out of a plan, exactly as they were put in: who had them through it alone loses them now. `false` when the
    /// plan does not have them.
    ///
    /// # Errors
    /// [`StoreError::NoPlan`].
    pub async fn exclude_from_plan(
        &self,
        plan: &str,
        repo: &str,
        app: &AppPattern,
        branch: Option<&str>,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        let plan = must_exist(&mut transaction, plan).await?;
        let Some(found) = find(&mut transaction, &plan, repo, app, branch).await? else { return Ok(false) };
        end(&mut transaction, &found.id, now).await?;
        mark_changed(&mut transaction).await?;
        transaction.commit().await?;
        Ok(true)
    }
}

async fn find(
    connection: &mut Connection,
    plan: &PlanId,
    repo: &str,
    app: &AppPattern,
    branch: Option<&str>,
) -> Result<Option<PlanItem>, StoreError> {
    let row = sqlx::query(
        "SELECT * FROM plan_items WHERE plan_id = $1 AND repo = $2 AND app = $3 AND COALESCE(branch, '') = $4
           AND removed_at IS NULL",
    )
    .bind(plan.as_str())
    .bind(repo)
    .bind(app.to_string())
    .bind(branch.unwrap_or_default())
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(item).transpose()
}

async fn end(connection: &mut Connection, item: &PlanItemId, now: UnixTime) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE plan_items SET removed_at = $1 WHERE id = $2")
        .bind(now.0)
        .bind(item.as_str())
        .execute(connection)
        .await?;
    Ok(())
}
