// Shows cxrserve's reports as text in OHIF 3.13: append this file to OHIF's app-config.js.
//
// OHIF draws the measurements of every Imaging Measurement Report (TID 1500) on their images, and expects coordinates
// in each group. The findings of a whole image (TID 1501) have none: OHIF then stops with "Something went wrong".
window.config.extensions.push({
  id: "cxrserve-reports-as-text",
  preRegistration({ servicesManager }) {
    const { displaySetService } = servicesManager.services;
    displaySetService.subscribe(displaySetService.EVENTS.DISPLAY_SETS_ADDED, ({ displaySetsAdded }) => {
      for (const displaySet of displaySetsAdded)
        if (displaySet.Modality === "SR" && displaySet.instance?.Manufacturer === "cxrserve")
          displaySet.isImagingMeasurementReport = false; // OHIF shows other reports as text
    });
  },
});
