//! The methods of [`CrossEntropy`] whose targets are distributions. They check their arguments;
//! [`batch`](super::batch) does the work.

use super::cross_entropy::CrossEntropy;
use super::group::Targets;
use crate::checks;
use crate::error::Error;

impl CrossEntropy<'_> {
    /// The loss of each row, whose target is a distribution: `targets` has as many values as there
    /// are logits. They need not sum to 1.
    ///
    /// # Errors
    ///
    /// [`Error::PartialRow`] if the number of logits is not a multiple of `columns`;
    /// [`Error::LengthMismatch`] if there is not one target probability for each logit;
    /// [`Error::WeightsMismatch`] if there is not one weight for each class;
    /// [`Error::RowsMismatch`] if `losses` does not have one place for each row;
    /// [`Error::UnsupportedOption`] with [`ignore`](Self::ignore): targets of 0 leave a row out of
    /// a sum; [`Error::MaskMismatch`] or [`Error::LengthBeyondRow`] if a mask does not fit. Then
    /// nothing is written.
    ///
    /// ```
    /// let (logits, targets) = ([2.0, f32::NEG_INFINITY, 0.5], [0.95, 0.0, 0.05]);
    /// let mut losses = [0.0; 1];
    /// online_softmax::CrossEntropy::new().soft_rows(&logits, 3, &targets, &mut losses)?;
    /// assert!((losses[0] - 0.276413).abs() < 1e-6);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn soft_rows(
        &self,
        logits: &[f32],
        columns: usize,
        targets: &[f32],
        losses: &mut [f32],
    ) -> Result<(), Error> {
        self.check_distributions(logits.len(), columns, targets)?;
        checks::result_for_each_row(logits.len(), columns, losses.len())?;
        self.write_losses(logits, columns, Targets::Distributions(targets), losses);
        Ok(())
    }

    /// The sum of the losses of all rows, whose targets are distributions.
    ///
    /// # Errors
    ///
    /// Those of [`soft_rows`](Self::soft_rows), except that about `losses`.
    ///
    /// ```
    /// let sum = online_softmax::CrossEntropy::new().soft_sum(&[0.0; 4], 2, &[0.5; 4])?;
    /// assert_eq!(sum, 4_f32.ln());
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn soft_sum(&self, logits: &[f32], columns: usize, targets: &[f32]) -> Result<f32, Error> {
        let rows = self.check_distributions(logits.len(), columns, targets)?;
        let targets = Targets::Distributions(targets);
        Ok(self.sum_of_losses(logits, rows, columns, targets) as f32)
    }

    /// The mean of the losses over the rows, whose targets are distributions. Class weights do not
    /// change what it divides by.
    ///
    /// # Errors
    ///
    /// Those of [`soft_rows`](Self::soft_rows), except that about `losses`.
    ///
    /// ```
    /// let mean = online_softmax::CrossEntropy::new().soft_mean(&[0.0; 4], 2, &[0.5; 4])?;
    /// assert_eq!(mean, core::f32::consts::LN_2);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn soft_mean(&self, logits: &[f32], columns: usize, targets: &[f32]) -> Result<f32, Error> {
        let rows = self.check_distributions(logits.len(), columns, targets)?;
        let targets = Targets::Distributions(targets);
        let sum = self.sum_of_losses(logits, rows, columns, targets);
        Ok((sum / self.divisor(rows, targets)) as f32)
    }

    /// Writes the gradient of the mean by the logits, and returns the mean. Row n of N is
    ///
    /// ```text
    /// (p_c · Σ_j t_j − t_c) · scale · upstream / N
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`soft_mean`](Self::soft_mean); [`Error::LengthMismatch`] if `gradient` does not
    /// have as many places as there are logits; [`Error::UnsupportedOption`] with a soft cap. Then
    /// nothing is written.
    ///
    /// ```
    /// let (logits, targets) = ([2.0, f32::NEG_INFINITY, 0.5], [0.95, 0.0, 0.05]);
    /// let mut gradient = [0.0; 3];
    /// online_softmax::CrossEntropy::new().soft_gradient(&logits, 3, &targets, &mut gradient)?;
    /// assert!((gradient[0] + 0.132426).abs() < 1e-6);
    /// assert_eq!(gradient[1], 0.0);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn soft_gradient(
        &self,
        logits: &[f32],
        columns: usize,
        targets: &[f32],
        gradient: &mut [f32],
    ) -> Result<f32, Error> {
        let rows = self.check_soft_gradient(logits.len(), columns, targets, gradient.len())?;
        let targets = Targets::Distributions(targets);
        Ok(self.gradient_of_mean(Some(logits), gradient, rows, columns, targets))
    }

    /// [`soft_gradient`](Self::soft_gradient) in the places of the logits: the same bits.
    ///
    /// # Errors
    ///
    /// Those of [`soft_gradient`](Self::soft_gradient), except that about `gradient`.
    ///
    /// ```
    /// let mut rows = [5.0; 4];
    /// let targets = [0.0, 1.0, 0.5, 0.5];
    /// online_softmax::CrossEntropy::new().soft_gradient_in_place(&mut rows, 2, &targets)?;
    /// assert_eq!(rows, [0.25, -0.25, 0.0, 0.0]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn soft_gradient_in_place(
        &self,
        rows: &mut [f32],
        columns: usize,
        targets: &[f32],
    ) -> Result<f32, Error> {
        let values = rows.len();
        let count = self.check_soft_gradient(values, columns, targets, values)?;
        let targets = Targets::Distributions(targets);
        Ok(self.gradient_of_mean(None::<&[f32]>, rows, count, columns, targets))
    }

    /// Writes the gradient through [`soft_rows`](Self::soft_rows), as
    /// [`gradient_rows`](Self::gradient_rows) does.
    ///
    /// # Errors
    ///
    /// Those of [`soft_gradient`](Self::soft_gradient); [`Error::RowsMismatch`] if `upstream` does
    /// not have one value for each row. Then nothing is written.
    ///
    /// ```
    /// let (logits, targets) = ([5.0; 2], [0.0, 1.0]);
    /// let mut gradient = [0.0; 2];
    /// let loss = online_softmax::CrossEntropy::new();
    /// loss.soft_gradient_rows(&logits, 2, &targets, &[2.0], &mut gradient)?;
    /// assert_eq!(gradient, [1.0, -1.0]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn soft_gradient_rows(
        &self,
        logits: &[f32],
        columns: usize,
        targets: &[f32],
        upstream: &[f32],
        gradient: &mut [f32],
    ) -> Result<(), Error> {
        self.check_soft_gradient(logits.len(), columns, targets, gradient.len())?;
        checks::result_for_each_row(logits.len(), columns, upstream.len())?;
        let targets = Targets::Distributions(targets);
        self.gradient_by_row(Some(logits), gradient, columns, targets, upstream);
        Ok(())
    }

    /// [`soft_gradient_rows`](Self::soft_gradient_rows) in the places of the logits: the same bits.
    ///
    /// # Errors
    ///
    /// Those of [`soft_gradient_rows`](Self::soft_gradient_rows), except that about `gradient`.
    ///
    /// ```
    /// let mut rows = [5.0; 2];
    /// let loss = online_softmax::CrossEntropy::new();
    /// loss.soft_gradient_rows_in_place(&mut rows, 2, &[0.0, 1.0], &[2.0])?;
    /// assert_eq!(rows, [1.0, -1.0]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn soft_gradient_rows_in_place(
        &self,
        rows: &mut [f32],
        columns: usize,
        targets: &[f32],
        upstream: &[f32],
    ) -> Result<(), Error> {
        let values = rows.len();
        self.check_soft_gradient(values, columns, targets, values)?;
        checks::result_for_each_row(values, columns, upstream.len())?;
        let targets = Targets::Distributions(targets);
        self.gradient_by_row(None::<&[f32]>, rows, columns, targets, upstream);
        Ok(())
    }

    /// The number of rows; 0 if rows have no columns.
    fn check_distributions(
        &self,
        values: usize,
        columns: usize,
        targets: &[f32],
    ) -> Result<usize, Error> {
        checks::none_ignored(self.ignored, "a loss of soft targets")?;
        checks::length(values, targets.len())?;
        checks::class_weights(columns, self.class_weights)?;
        checks::loss(&self.softmax.driver.options, values, columns)
    }

    fn check_soft_gradient(
        &self,
        values: usize,
        columns: usize,
        targets: &[f32],
        given: usize,
    ) -> Result<usize, Error> {
        checks::no_soft_cap(&self.softmax.driver.options, super::GRADIENT)?;
        checks::length(values, given)?;
        self.check_distributions(values, columns, targets)
    }
}
