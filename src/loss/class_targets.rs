//! The methods of [`CrossEntropy`] whose targets are classes. They check their arguments;
//! [`batch`](super::batch) does the work.

use super::cross_entropy::CrossEntropy;
use super::group::Targets;
use crate::checks;
use crate::error::Error;

impl CrossEntropy<'_> {
    /// The loss of each row. `losses` has a place for each.
    ///
    /// # Errors
    ///
    /// [`Error::PartialRow`] if the number of logits is not a multiple of `columns`;
    /// [`Error::TargetsMismatch`] if there is not one target for each row;
    /// [`Error::TargetOutOfRange`] if a target is no class and is not ignored;
    /// [`Error::WeightsMismatch`] if there is not one weight for each class;
    /// [`Error::RowsMismatch`] if `losses` does not have one place for each row;
    /// [`Error::MaskMismatch`] or [`Error::LengthBeyondRow`] if a mask does not fit. Then nothing is
    /// written.
    ///
    /// ```
    /// let mut losses = [0.0; 2];
    /// online_softmax::CrossEntropy::new().rows(&[0.0, 0.0, 30.0, 0.0], 2, &[1, 0], &mut losses)?;
    /// assert_eq!(losses, [core::f32::consts::LN_2, 9.3576229688e-14]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn rows(
        &self,
        logits: &[f32],
        columns: usize,
        targets: &[usize],
        losses: &mut [f32],
    ) -> Result<(), Error> {
        let rows = self.check_classes(logits.len(), columns, targets)?;
        checks::place_for_each_row(rows, losses.len())?;
        self.write_losses(logits, columns, Targets::Classes(targets), losses);
        Ok(())
    }

    /// The sum of the losses of all rows.
    ///
    /// # Errors
    ///
    /// Those of [`rows`](Self::rows), except that about `losses`.
    ///
    /// ```
    /// let sum = online_softmax::CrossEntropy::new().sum(&[0.0; 4], 2, &[1, 0])?;
    /// assert_eq!(sum, 4_f32.ln());
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn sum(&self, logits: &[f32], columns: usize, targets: &[usize]) -> Result<f32, Error> {
        let rows = self.check_classes(logits.len(), columns, targets)?;
        Ok(self.sum_of_losses(logits, rows, columns, Targets::Classes(targets)) as f32)
    }

    /// The mean of the losses, weighted by the weights of the target classes.
    ///
    /// # Errors
    ///
    /// Those of [`rows`](Self::rows), except that about `losses`.
    ///
    /// ```
    /// let mean = online_softmax::CrossEntropy::new().mean(&[0.0; 4], 2, &[1, 0])?;
    /// assert_eq!(mean, core::f32::consts::LN_2);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn mean(&self, logits: &[f32], columns: usize, targets: &[usize]) -> Result<f32, Error> {
        let rows = self.check_classes(logits.len(), columns, targets)?;
        let targets = Targets::Classes(targets);
        let sum = self.sum_of_losses(logits, rows, columns, targets);
        Ok((sum / self.divisor(rows, targets)) as f32)
    }

    /// Writes the gradient of the mean by the logits, and returns the mean. Row n is
    ///
    /// ```text
    /// (p_c · Σ_j t_j − t_c) · scale · upstream / Σ_n w_(target of row n)
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`mean`](Self::mean); [`Error::LengthMismatch`] if `gradient` does not have as many
    /// places as there are logits; [`Error::UnsupportedOption`] with a soft cap. Then nothing is
    /// written.
    ///
    /// ```
    /// let mut gradient = [0.0; 4];
    /// let mean = online_softmax::CrossEntropy::new().gradient(&[5.0; 4], 2, &[1, 0], &mut gradient)?;
    /// assert_eq!(gradient, [0.25, -0.25, -0.25, 0.25]);
    /// assert_eq!(mean, core::f32::consts::LN_2);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn gradient(
        &self,
        logits: &[f32],
        columns: usize,
        targets: &[usize],
        gradient: &mut [f32],
    ) -> Result<f32, Error> {
        let rows = self.check_class_gradient(logits.len(), columns, targets, gradient.len())?;
        let targets = Targets::Classes(targets);
        Ok(self.gradient_of_mean(Some(logits), gradient, rows, columns, targets))
    }

    /// [`gradient`](Self::gradient) in the places of the logits: the same bits.
    ///
    /// # Errors
    ///
    /// Those of [`gradient`](Self::gradient), except that of slices that differ in length.
    ///
    /// ```
    /// let mut rows = [5.0; 4];
    /// online_softmax::CrossEntropy::new().gradient_in_place(&mut rows, 2, &[1, 0])?;
    /// assert_eq!(rows, [0.25, -0.25, -0.25, 0.25]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn gradient_in_place(
        &self,
        rows: &mut [f32],
        columns: usize,
        targets: &[usize],
    ) -> Result<f32, Error> {
        let values = rows.len();
        let count = self.check_class_gradient(values, columns, targets, values)?;
        let targets = Targets::Classes(targets);
        Ok(self.gradient_of_mean(None::<&[f32]>, rows, count, columns, targets))
    }

    /// Writes the gradient through [`rows`](Self::rows): that of each row, (p_c · Σ_j t_j − t_c) ·
    /// scale, multiplied by its own upstream gradient and by [`upstream`](Self::upstream). With
    /// ones it is the gradient of the [`sum`](Self::sum).
    ///
    /// # Errors
    ///
    /// Those of [`gradient`](Self::gradient); [`Error::RowsMismatch`] if `upstream` does not have
    /// one value for each row. Then nothing is written.
    ///
    /// ```
    /// let mut gradient = [0.0; 4];
    /// online_softmax::CrossEntropy::new().gradient_rows(
    ///     &[5.0; 4],
    ///     2,
    ///     &[1, 0],
    ///     &[1.0, -2.0],
    ///     &mut gradient,
    /// )?;
    /// assert_eq!(gradient, [0.5, -0.5, 1.0, -1.0]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn gradient_rows(
        &self,
        logits: &[f32],
        columns: usize,
        targets: &[usize],
        upstream: &[f32],
        gradient: &mut [f32],
    ) -> Result<(), Error> {
        let rows = self.check_class_gradient(logits.len(), columns, targets, gradient.len())?;
        checks::place_for_each_row(rows, upstream.len())?;
        let targets = Targets::Classes(targets);
        self.gradient_by_row(Some(logits), gradient, columns, targets, upstream);
        Ok(())
    }

    /// [`gradient_rows`](Self::gradient_rows) in the places of the logits: the same bits.
    ///
    /// # Errors
    ///
    /// Those of [`gradient_rows`](Self::gradient_rows), except that of slices that differ in
    /// length.
    ///
    /// ```
    /// let mut rows = [5.0; 2];
    /// online_softmax::CrossEntropy::new().gradient_rows_in_place(&mut rows, 2, &[1], &[2.0])?;
    /// assert_eq!(rows, [1.0, -1.0]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn gradient_rows_in_place(
        &self,
        rows: &mut [f32],
        columns: usize,
        targets: &[usize],
        upstream: &[f32],
    ) -> Result<(), Error> {
        let values = rows.len();
        let count = self.check_class_gradient(values, columns, targets, values)?;
        checks::place_for_each_row(count, upstream.len())?;
        let targets = Targets::Classes(targets);
        self.gradient_by_row(None::<&[f32]>, rows, columns, targets, upstream);
        Ok(())
    }

    /// The number of rows, which have a target each.
    fn check_classes(
        &self,
        values: usize,
        columns: usize,
        targets: &[usize],
    ) -> Result<usize, Error> {
        checks::class_targets(values, columns, targets, self.ignored)?;
        checks::class_weights(columns, self.class_weights)?;
        checks::loss(&self.softmax.driver.options, values, columns)?;
        Ok(targets.len())
    }

    fn check_class_gradient(
        &self,
        values: usize,
        columns: usize,
        targets: &[usize],
        given: usize,
    ) -> Result<usize, Error> {
        checks::no_soft_cap(&self.softmax.driver.options, super::GRADIENT)?;
        checks::length(values, given)?;
        self.check_classes(values, columns, targets)
    }
}
